"""The shares that balancers want, to hold against what the uplinks got."""

from __future__ import annotations

from collections.abc import Container, Iterable
from fractions import Fraction

from classifier.policy import BY_WEIGHTS, FAMILIES, Balancer, Policy
from classifier.uplinks.placing import Usable
from classifier.uplinks.tiers import in_use

_Shares = dict[str, Fraction]


def wanted(policy: Policy, usable: Usable, flows: Iterable[tuple[int, int]]) -> dict[str, float]:
    """Uplink to the share it would have by weights alone, of the flows placed on any uplink.

    `flows` counts, rule by rule, what each has taken of IPv4 and of IPv6; `usable` says which of
    them uplinks take. What is sticky goes otherwise for good reasons, and makes the difference.
    Empty while no flow has been placed, and where a balancer in use does not go by weights.
    """
    up = [{name for name, able in usable.items() if family in able} for family in FAMILIES]
    balancers = {balancer.name: balancer for balancer in policy.balancers}
    sums = dict.fromkeys((uplink.name for uplink in policy.uplinks), Fraction(0))
    for rule, counts in zip(policy.rules, flows, strict=True):
        if any(counts) and not _by_weights(rule.use, balancers):
            return {}
        for count, able in zip(counts, up, strict=True):
            for uplink, share in _shares(rule.use, balancers, able).items():
                sums[uplink] += count * share
    placed = sum(sums.values())
    return {name: float(part / placed) for name, part in sums.items()} if placed else {}


def _by_weights(use: str, balancers: dict[str, Balancer]) -> bool:
    return use not in balancers or balancers[use].method in BY_WEIGHTS


def _shares(use: str, balancers: dict[str, Balancer], up: Container[str]) -> _Shares:
    """How a rule's flows spread over uplinks; empty where they go to none."""
    balancer = balancers.get(use)
    if balancer is None:
        return {use: Fraction(1)} if use in up else {}
    members = in_use(balancer, up)
    if not members:
        return _shares(balancer.fallback, balancers, up)
    total = sum(member.weight for member in members)
    return {member.uplink: Fraction(member.weight, total) for member in members}
