"""How far the order of decisions strays from what weights want."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction


def ideal(weights: Mapping[str, int], flows: int) -> dict[str, Fraction]:
    """The exact share of `flows` flows that each weight stands for."""
    total = sum(weights.values())
    return {name: Fraction(flows * weight, total) for name, weight in weights.items()}


def largest_deviation(order: Iterable[str], weights: Mapping[str, int]) -> float:
    """The largest distance, in flows, between an uplink's flows and its ideal at any point.

    `order` names the uplink of one flow after the other. Names without a weight have weight 0.
    """
    total = sum(weights.values())
    counts: Counter[str] = Counter()
    largest = 0
    for number, name in enumerate(order, 1):
        counts[name] += 1
        for other in {*weights, name}:
            # In units of 1/total of a flow, so that no rounding hides a whole flow.
            largest = max(largest, abs(counts[other] * total - number * weights.get(other, 0)))
    return largest / total
