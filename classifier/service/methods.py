"""Balancing methods of users in a running service: a clock to limit them by, and what goes wrong.

Their errors are counted by the engine, which logs nothing.
"""

from __future__ import annotations

import logging
import time

from classifier.engine.engine import Engine
from classifier.service.rarely import Rarely

_OVERDUE = 1.0
"""Seconds after which a call that has not come back is told in `status`."""

log = logging.getLogger(__name__)


class Methods:
    """Those of one engine, whose time is `time.monotonic` in milliseconds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rarely = Rarely()
        self._told: dict[str, int] = {}
        engine.clock = time.monotonic
        self._set_epoch()

    def _set_epoch(self) -> None:
        """Methods are told Unix time, which may be set while the service runs."""
        self._engine.epoch = round((time.time() - time.monotonic()) * 1000)

    def look_after(self, now: float) -> None:
        """Log what methods did wrong since the last time, each once a minute at most.

        now: seconds of a clock that never goes back.
        """
        self._set_epoch()
        for name, balancer in self._engine.counters().balancers.items():
            new = balancer.errors - self._told.get(name, 0)
            if new > 0 and self._rarely.due(name, now):
                log.warning("balancer %s: %s", name, _failed(new, balancer.last_error))
            elif new > 0:
                continue
            self._told[name] = balancer.errors

    def warnings(self) -> tuple[str, ...]:
        """What is wrong with methods, as sentences."""
        found = [
            f"balancer {name}: {_failed(balancer.errors, balancer.last_error)}"
            for name, balancer in self._engine.counters().balancers.items()
            if balancer.errors
        ]
        for method in self._engine.methods_of_users():
            since = method.busy_since
            if since is not None and (passed := time.monotonic() - since) > _OVERDUE:
                found.append(
                    f"balancer {method.name}: its method has not come back for {passed:.0f} s; the"
                    " queue that waits for it passes new flows unclassified once it is full"
                )
        return tuple(found)


def _failed(count: int, error: str | None) -> str:
    times = "once" if count == 1 else f"{count} times"
    return f"its method failed {times}, so that the weights decided; the last time: {error}"
