"""Letting go of the host while `down` removes what is ours there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from classifier.errors import ConflictError, ServiceError

SECONDS = 60.0
"""For `down` to come to its end and say so; else it was interrupted."""

log = logging.getLogger(__name__)


class Release:
    """Whether the service holds the host; `take_back` is called when `down` has not come back."""

    def __init__(self, take_back: Callable[[], None]) -> None:
        self._take_back = take_back
        self._lapse: asyncio.TimerHandle | None = None
        self.warning = ""
        """What `status` says of it; empty while the service holds the host."""

    def begin(self) -> None:
        """Let go, for `SECONDS` at first."""
        self.close()
        self._lapse = asyncio.get_running_loop().call_later(SECONDS, self._lapsed)
        self.warning = (
            "nothing is put right: the host was released for `down`, which has not said that it"
            f" is done; without that the service takes the host back after {SECONDS:.0f} s"
        )
        log.warning("released the host for `down`")

    def confirm(self) -> None:
        """`down` is done: for good. Raises ConflictError when it took too long."""
        if self._lapse is None:
            raise ConflictError("the service has taken the host back: it is not released any more")
        self.close()
        self.warning = (
            "nothing is classified: the rules were removed by `down`; restart the service"
        )
        log.warning("%s", self.warning)

    def check(self) -> None:
        """Raises ServiceError while the host is not ours to change."""
        if self.warning:
            raise ServiceError(self.warning)

    def close(self) -> None:
        if self._lapse is not None:
            self._lapse.cancel()
            self._lapse = None

    def _lapsed(self) -> None:
        self._lapse = None
        self.warning = ""
        log.warning("`down` has not come to its end within %.0f s: takes the host back", SECONDS)
        self._take_back()
