"""Two policies on the same flows: where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from classifier.policy import Policy
from classifier.replay.figures import Amount, ways_of
from classifier.replay.report import Comparison, FlowDecision, Move, Report

if TYPE_CHECKING:
    from classifier.replay.observer import Observer


def moves(policy: Policy, other: Policy, observer: Observer) -> tuple[Move, ...]:
    found = [
        Move(way, other_way, Amount(*observer.move(column, other_column)))
        for column, way in enumerate(ways_of(policy))
        for other_column, other_way in enumerate(ways_of(other))
        if way != other_way
    ]
    return tuple(
        sorted((m for m in found if m.amount.flows), key=lambda m: m.amount.flows, reverse=True)
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """One flow as both policies decide it."""

    flow: FlowDecision
    other: FlowDecision
    moved: bool


def pairs(report: Report, comparison: Comparison) -> Iterator[Pair]:
    """Every flow in order of start; both reports have to have their decisions."""
    ours, others = report.decisions, comparison.report.decisions
    for index, (flow, other) in enumerate(zip(ours, others, strict=True)):
        yield Pair(flow, other, ours.way(index) != others.way(index))


def byte_shares(report: Report) -> dict[str, float]:
    """The part, 0 to 1, of the bytes of all uplinks that each carries."""
    total = sum(use.bytes for use in report.uplinks.values())
    return {name: use.bytes / total if total else 0.0 for name, use in report.uplinks.items()}
