"""The tables of the case, and what they say about the order of the methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles

from bench.shaped.order import NEAR, Range, differences, order
from bench.shaped.scenario import CLIENTS, RATES


@dataclass(frozen=True, slots=True)
class Row:
    method: str
    measured: Range
    """Percent of the lines."""
    predicted: Range
    flows: int
    """Of all runs."""
    alike: int | None
    """Those that took the uplink that was predicted for them; None: nothing was, as the method goes
    by load or draws at random."""
    target: float | None


@dataclass(frozen=True, slots=True)
class Table:
    what: str
    rows: tuple[Row, ...]

    def text(self) -> str:
        lines = [
            f"  {self.what}",
            f"  {'':<14} {'measured':<22} {'predicted':<22} {'placed as predicted':<20} target",
        ]
        for row in self.rows:
            placed = "" if row.alike is None else f"{row.alike} of {row.flows}"
            target = "" if row.target is None else f"{row.target:.0f}%"
            lines.append(
                f"  {row.method:<14} {_range(row.measured):<22} {_range(row.predicted):<22} "
                f"{placed:<20} {target}".rstrip()
            )
        return "\n".join([*lines, *self._order()])

    def _order(self) -> list[str]:
        paper = {row.method: row.predicted for row in self.rows}
        wires = {row.method: row.measured for row in self.rows}
        found = differences(paper, wires)
        return [
            f"  order predicted: {order(paper)}",
            f"  order measured:  {order(wires)}",
            *(f"  not as predicted: {text}" for text in found or ["nothing"]),
        ]


@dataclass(frozen=True, slots=True)
class Shaped:
    case: str
    runs: int
    tables: tuple[Table, ...]

    def text(self) -> str:
        rates = ", ".join(map(str, RATES.values()))
        lead = (
            f"{self.case}: {CLIENTS} downloads side by side over lines of {rates} Mbit/s: how much"
            f" of them is used\n  mean (lowest - highest) of {self.runs} runs; '=' where these"
            f" ranges come nearer than {NEAR:.0f}%"
        )
        return "\n".join([lead, *(table.text() for table in self.tables)])


def used(percents: Sequence[float]) -> Range:
    return Range(fmean(percents), min(percents), max(percents))


def drawn(percents: Sequence[float]) -> Range:
    """Of many draws, without the rare ones: from the 5th to the 95th of 100."""
    parts = quantiles(percents, n=20, method="inclusive")
    return Range(fmean(percents), parts[0], parts[-1])


def _range(found: Range) -> str:
    return f"{found.mean:5.1f}% ({found.lowest:.1f} - {found.highest:.1f})"
