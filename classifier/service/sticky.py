"""Sticky entries of a running service: kept over a restart, shown and forgotten by hand."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from classifier.engine.engine import Engine
from classifier.engine.sticky_by_hand import (
    sticky_forget,
    sticky_forget_all,
    sticky_forget_uplink,
    sticky_show,
)
from classifier.engine.sticky_file import export_sticky, import_sticky
from classifier.errors import HostError, UsageError
from classifier.service.control.routes import Request
from classifier.state.sticky import remove_sticky, set_sticky_aside, store_sticky, stored_sticky

log = logging.getLogger(__name__)

_SAVE_SECONDS = 60.0
"""Between savings to the state directory; a machine that loses power forgets what came later."""
_COPY_SECONDS = 1.0
"""Between savings to the runtime directory; a service that is killed forgets what came later."""
_LARGEST_PART = 0.05
"""Of the time, that saving may take."""


class StickyEntries:
    """Those of one engine, and its turns, with their files in state and runtime directory."""

    def __init__(self, engine: Engine, state_dir: Path, runtime_dir: Path) -> None:
        self._engine = engine
        self._state_dir = state_dir
        self._runtime_dir = runtime_dir
        self._forgotten = 0
        """Requests to forget something by hand."""

    def load(self) -> None:
        """Go on with what was stored last. A file that cannot be used is set aside, and told."""
        found = [
            (stored[1], folder, stored[0])
            for folder in (self._state_dir, self._runtime_dir)
            if (stored := stored_sticky(folder)) is not None
        ]
        for age, folder, content in sorted(found):
            try:
                import_sticky(self._engine, content, engine_now(), round(age * 1000))
            except UsageError as error:
                set_sticky_aside(folder, str(error))
            else:
                return

    def save(self) -> None:
        """At a stop. Raises HostError."""
        self._store(self._state_dir)
        remove_sticky(self._runtime_dir)

    async def keep_saved(self) -> None:
        """Save now and then what has changed, until cancelled."""
        loop = asyncio.get_running_loop()
        pause, copied, saved, saved_at = _COPY_SECONDS, self._changes(), 0, loop.time()
        while True:
            await asyncio.sleep(pause)
            began, changes = loop.time(), self._changes()
            try:
                if changes != copied:
                    await asyncio.to_thread(self._store, self._runtime_dir)
                    copied = changes
                if changes != saved and began - saved_at >= _SAVE_SECONDS:
                    await asyncio.to_thread(self._store, self._state_dir)
                    saved, saved_at = changes, began
            except HostError as error:
                log.warning("%s", error)
            pause = max(_COPY_SECONDS, (loop.time() - began) / _LARGEST_PART)

    def _changes(self) -> int:
        """Grows when an entry or a turn may have changed."""
        return sum(self._engine.counters().uplinks.values()) + self._forgotten

    def _store(self, folder: Path) -> None:
        store_sticky(folder, export_sticky(self._engine, engine_now()))

    async def show(self, request: Request) -> dict[str, Any]:
        address, local = _addresses(request.query)
        return {
            "entries": [asdict(e) for e in sticky_show(self._engine, address, engine_now(), local)]
        }

    async def forget(self, request: Request) -> dict[str, Any]:
        body = request.body
        self._forgotten += 1
        if body.get("all") is True:
            return {"forgotten": sticky_forget_all(self._engine)}
        if "uplink" in body:
            return {"forgotten": sticky_forget_uplink(self._engine, str(body["uplink"]))}
        address, local = _addresses(body)
        return {"forgotten": len(sticky_forget(self._engine, address, engine_now(), local))}


def _addresses(
    words: Mapping[str, Any],
) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address | None]:
    found = []
    for key in ("address", "local"):
        try:
            found.append(ip_address(words[key]) if key in words else None)
        except ValueError:
            raise UsageError(f"{key} = {words[key]!r}: must be an IP address") from None
    address, local = found
    if address is None:
        raise UsageError("address: must be given, unless it is about an uplink or all")
    return address, local


def engine_now() -> int:
    """The engine's time, as the queue tells it."""
    return round(time.monotonic() * 1000)
