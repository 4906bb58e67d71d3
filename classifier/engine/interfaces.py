"""The numbers by which the engine knows interfaces.

A number stays with its name from one policy to the next: packets that a queue has read carry
numbers given before, and must not be taken for those of another interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from classifier.errors import UsageError
from classifier.policy import Policy

LARGEST_NUMBER = 0xFFFF
"""Numbers run from 1 to this; 0 is an interface that no policy names."""


def numbered(policy: Policy, before: Mapping[str, int]) -> dict[str, int]:
    """The numbers of `before`, and new ones for the interfaces that only `policy` names.

    When there are no others left, those of interfaces that `policy` does not name are given again.
    UsageError: it names more interfaces than there are numbers.
    """
    named = {*policy.gateway.lan, *(n for rule in policy.rules for n in rule.in_interfaces)}
    if len(named) > LARGEST_NUMBER:
        raise UsageError(f"{len(named)} interfaces are named: must be at most {LARGEST_NUMBER}")
    new = sorted(named - before.keys())
    numbers = dict(before)
    if len(numbers) + len(new) > LARGEST_NUMBER:
        numbers = {name: number for name, number in before.items() if name in named}
    taken = set(numbers.values())
    free = (number for number in range(1, LARGEST_NUMBER + 1) if number not in taken)
    numbers.update(zip(new, islice(free, len(new)), strict=True))
    return numbers
