"""What a case found: times of each contender, and how fast we are next to each peer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Times:
    """One contender in one round, in nanoseconds per unit (packet, decision, ...)."""

    cpu: float
    """User and system time of its process."""
    wall: float


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    what: str
    """One line about it, for people."""
    target: float | None = None
    """How many times as fast as this peer we must be; None for ourselves."""


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    what: str
    cpu: float
    """Median over the rounds, nanoseconds per unit."""
    wall: float
    ratio_cpu: float
    """Peer's time by ours, median over the rounds: above 1 we are faster."""
    ratio_wall: float
    target: float | None


@dataclass(frozen=True, slots=True)
class Result:
    case: str
    unit: str
    units: int
    """Per round and contender."""
    rounds: int
    rows: tuple[Row, ...]

    def text(self) -> str:
        lines = [
            f"{self.case}: {self.units} x {self.unit}, median of {self.rounds} rounds in turn",
            f"  {'':<10} {'CPU ns':>8} {'wall ns':>8}   {'CPU':>6} {'wall':>6} {'target':>7}",
        ]
        for row in self.rows:
            times = f"  {row.name:<10} {row.cpu:8.0f} {row.wall:8.0f}"
            if row.target is None:
                ratios = " " * 24
            else:
                ratios = f"   {row.ratio_cpu:6.2f} {row.ratio_wall:6.2f} {row.target:7.2f}"
            lines.append(f"{times}{ratios}  {row.what}")
        return "\n".join(lines)


def compare(
    case: str,
    unit: str,
    units: int,
    peers: Sequence[Peer],
    rounds: Sequence[Mapping[str, Times]],
) -> Result:
    """Medians of times and of the ratios within each round; `rounds` map peer names to times."""
    return Result(
        case, unit, units, len(rounds), tuple(_row(peer, rounds) for peer in peers)
    )  # fmt: skip


def _row(peer: Peer, rounds: Sequence[Mapping[str, Times]]) -> Row:
    return Row(
        name=peer.name,
        what=peer.what,
        cpu=median(times[peer.name].cpu for times in rounds),
        wall=median(times[peer.name].wall for times in rounds),
        ratio_cpu=median(times[peer.name].cpu / times[OURS].cpu for times in rounds),
        ratio_wall=median(times[peer.name].wall / times[OURS].wall for times in rounds),
        target=peer.target,
    )
