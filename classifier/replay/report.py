"""What came out of a replay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

from classifier.config.names import protocol_name
from classifier.policy import DIRECT, DROP, Policy
from classifier.replay.flow_log import FlowLog

if TYPE_CHECKING:
    from classifier.engine.engine import Engine
    from classifier.replay.figures import Amount, Figures

_NANOSECONDS = 1_000_000_000
_DROPPED = 254


@dataclass(frozen=True, slots=True)
class FlowDecision:
    """One flow and where it went."""

    time: float
    """Seconds since 1970 of the packet that started the flow, as the capture says."""
    protocol: str
    """Name of the protocol, or its number."""
    src: str
    sport: int | None
    """None where the protocol has no ports."""
    dst: str
    dport: int | None
    uplink: str | None
    """None for a flow that is left alone or dropped."""
    rule: str | None
    reason: str
    """One of `classifier.replay.reasons.REASONS`."""
    packets: int
    """Of both directions, ICMP errors about the flow included."""
    bytes: int
    """IP packet lengths, both directions."""


@dataclass(frozen=True, slots=True)
class Use:
    """What went one way."""

    flows: int
    packets: int
    bytes: int
    share: float = 0.0
    """Flows out of all flows that were placed on uplinks, 0 to 1; 0 for what is no uplink."""


@dataclass(frozen=True, slots=True)
class RuleUse:
    name: str
    flows: int


@dataclass(frozen=True, slots=True)
class MethodErrors:
    """Of a balancer whose method is one's own; of any other they are none."""

    errors: int
    """Flows that it was to place and did not, so that the weights did."""
    last_error: str | None
    """What was wrong the last time, in one line."""


def method_errors(policy: Policy, engine: Engine) -> Mapping[str, MethodErrors]:
    """By balancer, in the order of the policy."""
    found = engine.counters().balancers
    return {
        b.name: MethodErrors(found[b.name].errors, found[b.name].last_error)
        if b.name in found
        else MethodErrors(0, None)
        for b in policy.balancers
    }


class Decisions(Sequence[FlowDecision]):
    """The flows of a replay in order of start, each made when it is asked for."""

    def __init__(self, log: FlowLog, policy: Policy) -> None:
        self._log = log
        self._rules = [rule.name for rule in policy.rules]
        self._uplinks = {uplink.id: uplink.name for uplink in policy.uplinks}

    def __len__(self) -> int:
        return len(self._log)

    @overload
    def __getitem__(self, index: int) -> FlowDecision: ...
    @overload
    def __getitem__(self, index: slice) -> list[FlowDecision]: ...
    def __getitem__(self, index: int | slice) -> FlowDecision | list[FlowDecision]:
        if isinstance(index, slice):
            return [self._flow(i) for i in range(*index.indices(len(self)))]
        return self._flow(index if index >= 0 else index + len(self))

    def __iter__(self) -> Iterator[FlowDecision]:
        return map(self._flow, range(len(self)))

    def way(self, index: int) -> str:
        """Where a flow went: the name of its uplink, `direct` or `drop`; IndexError."""
        _, _, _, _, _, _, placement, *_ = self._log.record(index)
        return self._uplinks.get(placement, DROP if placement == _DROPPED else DIRECT)

    def _flow(self, index: int) -> FlowDecision:
        record = self._log.record(index)
        time, protocol, src, sport, dst, dport, placement, rule, reason, packets, size = record
        return FlowDecision(
            # The quotient of integers is rounded once; a float has no room for the nanoseconds.
            time=time / _NANOSECONDS,
            protocol=protocol_name(protocol),
            src=src,
            sport=sport,
            dst=dst,
            dport=dport,
            uplink=self._uplinks.get(placement),
            rule=self._rules[rule] if rule >= 0 else None,
            reason=reason,
            packets=packets,
            bytes=size,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """The sums of a replay. Every packet is counted once: in an uplink's use, in `direct`,
    `dropped` or `inbound`, or as malformed, untracked or without IP."""

    seconds: float
    """From the first packet to the latest, to the millisecond."""
    packets: int
    flows: int
    """All but the inbound ones."""
    malformed: int
    """IP packets that make no sense; the kernel would not track them."""
    untracked: int
    """Packets that start no flow and belong to none: late answers, scans, datagrams whose fragments
    are not all there, neighbour discovery."""
    without_ip: int
    """Frames of other protocols, such as ARP."""
    uplinks: Mapping[str, Use]
    """By name, in the order of the policy."""
    direct: Use
    dropped: Use
    inbound: Use
    """With `lan` given: flows that do not lead from the inside to the outside; not decided."""
    rules: tuple[RuleUse, ...]
    decisions: Decisions = field(repr=False, compare=False)
    """Every flow but the inbound ones, in order of start."""
    figures: Figures | None = field(default=None, repr=False, compare=False)
    """What happened over time, by rule and by remote, if that was asked for."""
    against: Comparison | None = field(default=None, repr=False, compare=False)
    """What another policy would have done, if one was given."""

    balancers: Mapping[str, MethodErrors] = field(default_factory=dict)
    """By name, in the order of the policy."""

    def failures(self) -> list[str]:
        """A sentence for each balancer whose method failed: what the numbers say is then not what
        the method decides."""
        return [
            f"balancer {name}: its method failed {found.errors} times, so that its weights decided;"
            f" the last time: {found.last_error}"
            for name, found in self.balancers.items()
            if found.errors
        ]

    def share(self, uplink: str) -> float:
        """The part, 0 to 1, of all flows placed on uplinks that went by this one; KeyError."""
        return self.uplinks[uplink].share


@dataclass(frozen=True, slots=True)
class Move:
    """Flows that go another way by the other policy."""

    source: str
    """Name of the uplink by the policy that was replayed, or `direct` or `drop`."""
    target: str
    """The same by the other policy."""
    amount: Amount


@dataclass(frozen=True, slots=True)
class Comparison:
    """What another policy would have done with the flows of a report."""

    policy: Policy
    """The other one."""
    report: Report
    """Of it; its decisions are in the order of the first report's."""
    moves: tuple[Move, ...]
    """Most flows first."""

    @property
    def moved(self) -> int:
        """Flows that go by an uplink of another name, or to it from direct or drop, or from it."""
        return sum(move.amount.flows for move in self.moves)

    @property
    def moved_bytes(self) -> int:
        return sum(move.amount.bytes for move in self.moves)
