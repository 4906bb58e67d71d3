"""The numbers by which the engine knows interfaces.

A number stays with its name from one policy to the next: packets that a queue has read carry
numbers given before, and must not be taken for those of another interface.
"""

from __future__ import annotations

from collections.abc import Mapping

from classifier.errors import UsageError
from classifier.policy import Policy

LARGEST_NUMBER = 0xFFFF
"""Numbers run from 1 to this; 0 is an interface that no policy names."""


def named(policy: Policy) -> frozenset[str]:
    """The interfaces that packets of a policy have to be told apart by."""
    rules = (name for rule in policy.rules for name in rule.in_interfaces)
    return frozenset((*policy.gateway.lan, *rules))


def numbered(policy: Policy, before: Mapping[str, int]) -> dict[str, int]:
    """The numbers of `before`, and new ones for the interfaces that only `policy` names.

    When there are no others left, those of interfaces that `policy` does not name are given again.
    UsageError: it names more interfaces than there are numbers.
    """
    names = named(policy)
    if len(names) > LARGEST_NUMBER:
        raise UsageError(f"{len(names)} interfaces are named: must be at most {LARGEST_NUMBER}")
    new = sorted(names - before.keys())
    numbers = dict(before)
    if len(numbers) + len(new) > LARGEST_NUMBER:
        numbers = {name: number for name, number in before.items() if name in names}
    taken = set(numbers.values())
    free = [number for number in range(1, LARGEST_NUMBER + 1) if number not in taken]
    numbers.update(zip(new, free, strict=False))
    return numbers
