"""What an uplink does for a family, and why: from what was asked, what the host shows, and health.

A new value is made whenever one of these changes; two values that are equal need no action.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from classifier.policy import Family
from classifier.state.asked import Asked
from classifier.uplinks.health import Verdict

State = Literal["up", "draining", "down"]
"""`up` takes new flows; `draining` keeps those it has; on `down` none can go on."""


@dataclass(frozen=True, slots=True)
class Link:
    """What the host shows of an uplink's way out for one family: whether each part is there."""

    interface: str
    exists: bool = True
    up: bool = True
    carrier: bool = True
    address: bool = True
    """True, too, where the uplink needs none of its own."""
    route: bool = True
    """A gateway to route by, or none needed."""

    def obstacle(self, family: Family) -> str | None:
        """The first thing that is missing, in words; None where nothing is."""
        if not self.exists:
            return f"no interface {self.interface}"
        if not self.up:
            return f"{self.interface} is down"
        if not self.carrier:
            return "no carrier"
        if not self.address:
            return f"{self.interface} has no IPv{family} address"
        return None if self.route else f"no IPv{family} route by {self.interface}"


@dataclass(frozen=True, slots=True)
class UplinkState:
    """One uplink and family at one moment."""

    name: str
    family: Family
    link: Link
    health: Verdict | None = None
    """None: it is not probed."""
    asked: Asked = "auto"

    @property
    def state(self) -> State:
        return self._judged()[0]

    @property
    def reason(self) -> str:
        """Why, in words: "no carrier", "drained by hand"."""
        return self._judged()[1]

    @property
    def takes_new_flows(self) -> bool:
        return self.state == "up"

    def _judged(self) -> tuple[State, str]:
        if self.asked == "down":
            return "down", "taken down by hand"
        drained = ", and drained by hand" if self.asked == "drain" else ""
        if obstacle := self.link.obstacle(self.family):
            in_vain = ", though asked to be up" if self.asked == "up" else ""
            return "down", obstacle + in_vain + drained
        bad = self.health.reason if self.health and not self.health.good else ""
        if self.asked == "up":
            return "up", f"by hand, though {bad}" if bad else "by hand"
        if bad:
            return "down", bad + drained
        if drained:
            return "draining", "drained by hand"
        return "up", self.health.reason if self.health else "not probed"


def together(states: Iterable[UplinkState]) -> tuple[State, str]:
    """State and reason of an uplink over its families; the best state is that of the uplink.

    The reason names the families where they differ: "IPv4: no carrier; IPv6: not probed".
    """
    found = tuple(states)
    order: tuple[State, ...] = ("up", "draining", "down")
    best = min((one.state for one in found), key=order.index)
    reasons = dict.fromkeys(one.reason for one in found)
    if len(reasons) == 1:
        return best, next(iter(reasons))
    return best, "; ".join(f"IPv{one.family}: {one.reason}" for one in found)
