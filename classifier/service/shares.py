"""The shares that balancers want, to hold against what the uplinks got."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from classifier.policy import BY_WEIGHTS, Balancer, Policy

_Shares = dict[str, Fraction]


def wanted(policy: Policy, usable: frozenset[str], flows: Sequence[int]) -> dict[str, float]:
    """Uplink to the share it would have by weights alone, of the flows placed on any uplink.

    `flows` counts, rule by rule, what each has taken; `usable` names the uplinks that take flows.
    What is sticky, or IPv6 on an uplink without it, goes otherwise for good reasons, and makes the
    difference. Empty while no flow has been placed, and where a balancer in use does not go by
    weights.
    """
    balancers = {balancer.name: balancer for balancer in policy.balancers}
    sums = dict.fromkeys((uplink.name for uplink in policy.uplinks), Fraction(0))
    for rule, count in zip(policy.rules, flows, strict=True):
        if count and not _by_weights(rule.use, balancers):
            return {}
        for uplink, share in _shares(rule.use, balancers, usable).items():
            sums[uplink] += count * share
    placed = sum(sums.values())
    return {name: float(part / placed) for name, part in sums.items()} if placed else {}


def _by_weights(use: str, balancers: dict[str, Balancer]) -> bool:
    return use not in balancers or balancers[use].method in BY_WEIGHTS


def _shares(use: str, balancers: dict[str, Balancer], usable: frozenset[str]) -> _Shares:
    """How a rule's flows spread over uplinks; empty where they go to none."""
    balancer = balancers.get(use)
    if balancer is None:
        return {use: Fraction(1)} if use in usable else {}
    members = [member for member in balancer.members if member.uplink in usable]
    if not members:
        return _shares(balancer.fallback, balancers, usable)
    total = sum(member.weight for member in members)
    return {member.uplink: Fraction(member.weight, total) for member in members}
