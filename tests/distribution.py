"""How far counted flows are from what weights want, where only the counts at the end are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from classifier.lab.deviation import ideal


def deviation(counts: Mapping[str, int], weights: Mapping[str, int]) -> float:
    """The largest distance, in flows, between a count and its ideal."""
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
