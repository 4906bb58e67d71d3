"""What others are told of the uplinks when they have changed: the user's program, the service
manager, and the next start."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from classifier.errors import HostError
from classifier.host.state import table_of
from classifier.policy import Uplink
from classifier.service.hooks import Hooks, Now
from classifier.service.notify import notify
from classifier.service.reconcile import Look
from classifier.service.uplinks import Shown
from classifier.state.health import Bad, store_bad
from classifier.state.told import States

log = logging.getLogger(__name__)


class Announcements:
    """Of one service; for its loop."""

    def __init__(self, state_dir: Path, bad: Bad) -> None:
        """`bad` is what the state directory has. Raises HostError."""
        self.hooks = Hooks(state_dir)
        self._state_dir = state_dir
        self._bad = bad
        self._said = ""

    async def tell(self, look: Look, uplinks: Mapping[str, Shown], bad: Bad) -> None:
        """What is new since the last time; `uplinks` are as they are now."""
        self._tell_manager(uplinks)
        policy = look.policy
        now = {name: _now(policy.uplink(name), one, look) for name, one in uplinks.items()}
        self.hooks.tell(policy.gateway.on_change, now)
        if bad != self._bad:
            self._bad = bad
            try:
                await asyncio.to_thread(store_bad, self._state_dir, bad)
            except HostError as error:
                log.warning("%s", error)

    def _tell_manager(self, uplinks: Mapping[str, Shown]) -> None:
        said = ", ".join(
            f"{name} {one.state}" + (f" ({one.reason})" if one.state != "up" else "")
            for name, one in uplinks.items()
        )
        if said != self._said:
            self._said = said
            notify(f"STATUS={said}")


def _now(uplink: Uplink, shown: Shown, look: Look) -> Now:
    states = States(shown.state, shown.families[4], shown.families.get(6, ""))
    gateways = {
        route.family: route.gateway or ""
        for route in look.plan.routes
        if route.table == table_of(uplink)
    }
    return Now(
        states,
        {
            "UPLINK": uplink.name,
            "STATE": shown.state,
            "REASON": shown.reason,
            "IPV4": states.ipv4,
            "IPV6": states.ipv6,
            "INTERFACE": uplink.interface,
            "GATEWAY": gateways.get(4, ""),
            "GATEWAY6": gateways.get(6, ""),
            "TABLE": str(table_of(uplink)),
            "MARK": f"{look.policy.mark(uplink):#x}",
        },
    )
