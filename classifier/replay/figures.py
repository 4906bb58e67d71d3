"""What a policy did with captured traffic over time, by rule and by remote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from classifier.policy import DIRECT, DROP, Policy

if TYPE_CHECKING:
    from classifier.replay.remotes import Remotes
    from classifier.replay.tally import Tally

TOP_REMOTES = 20


@dataclass(frozen=True, slots=True)
class Amount:
    flows: int = 0
    packets: int = 0
    bytes: int = 0
    """IP packet lengths, both directions."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one way carried, in spans of equal length from the start of the capture on."""

    flows: tuple[int, ...]
    """That started in each span."""
    down: tuple[int, ...]
    """Bytes in each span from the remotes to the inside."""
    up: tuple[int, ...]
    busiest_down: tuple[int, ...]
    """Bytes per second, of the busiest second that ended in each span (in steps of 0.1 s)."""
    busiest_up: tuple[int, ...]

    @property
    def peak_down(self) -> int:
        """Bytes per second, in the busiest second of all."""
        return max(self.busiest_down, default=0)

    @property
    def peak_up(self) -> int:
        return max(self.busiest_up, default=0)


@dataclass(frozen=True, slots=True)
class RuleLoad:
    name: str | None
    """None: flows that no rule took."""
    ways: Mapping[str, Amount]
    """Where its flows went, as in `Figures.loads`; only ways that took some."""


@dataclass(frozen=True, slots=True)
class RemoteUse:
    address: str
    flows: int
    bytes: int
    ways: tuple[str, ...]
    """By which its flows went."""


@dataclass(frozen=True, slots=True)
class Figures:
    start: float | None
    """Seconds since 1970 of the first packet; None: of a simulation, whose time begins at 0."""
    seconds: float
    """From there to the last packet, or to the end of the last simulated flow."""
    span: float
    """Seconds of a span in `loads`."""
    loads: Mapping[str, Load]
    """By way: the uplinks in the policy's order, then `direct` and `drop`."""
    rules: tuple[RuleLoad, ...]
    """In the policy's order, flows without a rule last."""
    remotes: tuple[RemoteUse, ...]
    """The 20 with most bytes, most first."""
    remotes_exact: bool
    """False: there were more than 8192; remotes with few bytes were forgotten, and the others have
    at least what is said here."""
    sticky_breaks: int
    """How often a balancer put a flow of a remote on another uplink than that remote's flow before,
    less than the sticky timeout later."""


def ways_of(policy: Policy) -> tuple[str, ...]:
    """Names of where flows can go: the uplinks in the policy's order, `direct`, `drop`."""
    return (*(uplink.name for uplink in policy.uplinks), DIRECT, DROP)


def figures(
    policy: Policy, tally: Tally, remotes: Remotes | None, began: tuple[int | None, int]
) -> Figures:
    """Of a tally of that policy; `began` is `Tracker.span()`, or None and milliseconds."""
    ways = ways_of(policy)
    start, milliseconds = began
    loads = {}
    for column, way in enumerate(ways):
        buckets = tally.timeline.column(column)
        loads[way] = Load(*(tuple(values) for values in zip(*buckets, strict=True)))
    return Figures(
        start=None if start is None else start / 1_000_000_000,
        seconds=milliseconds / 1000,
        span=tally.timeline.width / 1000,
        loads=loads,
        rules=tuple(
            RuleLoad(name, _by_way(ways, tally.rule(index)))
            for index, name in [*enumerate(r.name for r in policy.rules), (-1, None)]
        ),
        remotes=() if remotes is None else _remotes(ways, remotes),
        remotes_exact=remotes is None or remotes.forgotten == 0,
        sticky_breaks=tally.sticky.breaks,
    )


def _by_way(ways: tuple[str, ...], amounts: list[tuple[int, int, int]]) -> dict[str, Amount]:
    return {way: Amount(*amount) for way, amount in zip(ways, amounts, strict=True) if amount[0]}


def _remotes(ways: tuple[str, ...], remotes: Remotes) -> tuple[RemoteUse, ...]:
    return tuple(
        RemoteUse(
            address,
            flows,
            size,
            tuple(way for column, way in enumerate(ways) if columns >> min(column, 63) & 1),
        )
        for address, flows, size, columns in remotes.top(TOP_REMOTES)
    )
