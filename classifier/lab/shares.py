"""How far shares are from what was wanted."""

from __future__ import annotations

import math
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


def deviation(counts: Mapping[str, int], weights: Mapping[str, int]) -> float:
    """The same for the counts at the end alone."""
    wanted = ideal(weights, sum(counts.values()))
    names = {*weights, *counts}
    return float(max(abs(counts.get(name, 0) - wanted.get(name, Fraction(0))) for name in names))


def outside_interval(counts: Mapping[str, int], weights: Mapping[str, int]) -> list[str]:
    """Names whose count lies outside the 99.9 % interval of independent draws.

    The normal interval of a binomial count: ideal +- 3.29 standard deviations, and half a flow.
    """
    flows = sum(counts.values())
    total = sum(weights.values())
    outside = []
    for name in {*weights, *counts}:
        chance = weights.get(name, 0) / total
        spread = 3.2905 * math.sqrt(flows * chance * (1 - chance)) + 0.5
        if abs(counts.get(name, 0) - flows * chance) > spread:
            outside.append(name)
    return sorted(outside)
