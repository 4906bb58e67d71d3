"""Which method is ahead of which, and which of them cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise, permutations

NEAR = 3.0
"""Percent of the lines: what timers, TCP and a busy machine make of the same thing. Ranges that
come as close as this to each other count as one."""


@dataclass(frozen=True, slots=True)
class Range:
    """Of several runs."""

    mean: float
    lowest: float
    highest: float


def ahead(one: Range, other: Range) -> bool:
    """Whether every run of `one` was clearly above every run of `other`."""
    return one.lowest > other.highest + NEAR


def order(ranges: Mapping[str, Range]) -> str:
    """`a > b = c`: best first, `=` between what is tied, in the order given.

    Pairs of which that is not true, as ties are no ties of all with all, are named behind.
    """
    names = sorted(ranges, key=lambda name: -ranges[name].mean)
    groups = [[names[0]]]
    for before, name in pairwise(names):
        if ahead(ranges[before], ranges[name]):
            groups.append([])
        groups[-1].append(name)
    given = list(ranges)
    for group in groups:
        group.sort(key=given.index)
    text = " > ".join(" = ".join(group) for group in groups)
    for one, other in combinations(groups, 2):
        text += "".join(f", {a} = {b}" for a in one for b in other
                        if not ahead(ranges[a], ranges[b]))  # fmt: skip
    for group in groups:
        text += "".join(f", {a} > {b}" for a, b in permutations(group, 2)
                        if ahead(ranges[a], ranges[b]))  # fmt: skip
    return text


def differences(predicted: Mapping[str, Range], measured: Mapping[str, Range]) -> list[str]:
    """A sentence for each pair whose order on the wires is not that on paper."""
    found = []
    for a, b in combinations(predicted, 2):
        paper, wires = _relation(predicted, a, b), _relation(measured, a, b)
        if paper != wires:
            found.append(f"{paper} was predicted, {wires} was measured")
    return found


def _relation(ranges: Mapping[str, Range], a: str, b: str) -> str:
    if ahead(ranges[a], ranges[b]):
        return f"{a} > {b}"
    return f"{b} > {a}" if ahead(ranges[b], ranges[a]) else f"{a} = {b}"
