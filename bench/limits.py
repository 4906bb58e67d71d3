"""What a case found where the target is a number of its own, not a peer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measure:
    name: str
    what: str
    """One line about it, for people."""
    unit: str
    value: float
    """Median over the rounds."""
    least: float
    """Best of the rounds: what the machine does when nobody else wants it."""
    target: float
    """At most this."""


@dataclass(frozen=True, slots=True)
class Limits:
    case: str
    rounds: int
    rows: tuple[Measure, ...]

    def text(self) -> str:
        lines = [
            f"{self.case}: median of {self.rounds} rounds",
            f"  {'':<14} {'median':>8} {'least':>8} {'target':>8}",
        ]
        lines += [
            f"  {row.name:<14} {row.value:8.1f} {row.least:8.1f} {row.target:8.0f}  {row.unit}: "
            f"{row.what}"
            for row in self.rows
        ]
        return "\n".join(lines)
