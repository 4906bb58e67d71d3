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
from classifier.state.sticky import set_sticky_aside, store_sticky, stored_sticky

log = logging.getLogger(__name__)

_SAVE_SECONDS = 60.0
"""A crash forgets what was learned since the last time."""


class StickyEntries:
    """Those of one engine, with their file in the state directory."""

    def __init__(self, engine: Engine, state_dir: Path) -> None:
        self._engine = engine
        self._state_dir = state_dir

    def load(self) -> None:
        """Go on with what was stored. A file that cannot be used is set aside, and told."""
        found = stored_sticky(self._state_dir)
        if found is None:
            return
        content, age = found
        try:
            import_sticky(self._engine, content, engine_now(), round(age * 1000))
        except UsageError as error:
            set_sticky_aside(self._state_dir, str(error))

    def save(self) -> None:
        """Raises HostError."""
        if any(balancer.sticky for balancer in self._engine.policy.balancers):
            store_sticky(self._state_dir, export_sticky(self._engine, engine_now()))

    async def keep_saved(self) -> None:
        """Save now and then, until cancelled."""
        while True:
            await asyncio.sleep(_SAVE_SECONDS)
            try:
                await asyncio.to_thread(self.save)
            except HostError as error:
                log.warning("%s", error)

    async def show(self, request: Request) -> dict[str, Any]:
        address, local = _addresses(request.query)
        return {
            "entries": [asdict(e) for e in sticky_show(self._engine, address, engine_now(), local)]
        }

    async def forget(self, request: Request) -> dict[str, Any]:
        body = request.body
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
