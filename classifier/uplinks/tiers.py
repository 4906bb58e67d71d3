"""Which uplinks of a balancer are in use: those of the lowest tiers that are enough."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from classifier.policy import Balancer, Policy


def with_active_tiers(policy: Policy, up: Container[str]) -> Policy:
    """`policy` with only those members in its balancers whose tiers are in use now.

    `up`: names of the uplinks that take new flows. Members that are down stay as long as their tier
    is in use, so that the turns of the others go on.
    """
    balancers = tuple(active(balancer, up) for balancer in policy.balancers)
    return policy if balancers == policy.balancers else replace(policy, balancers=balancers)


def active(balancer: Balancer, up: Container[str]) -> Balancer:
    """Tiers join from the lowest on until `least_up` members are up; with 1, the next tier is used
    only when none of those before is up. With no member up all are in use."""
    ranked = sorted(member.tier for member in balancer.members if member.uplink in up)
    if not ranked:
        return balancer
    last = ranked[min(balancer.least_up, len(ranked)) - 1]
    members = tuple(member for member in balancer.members if member.tier <= last)
    return replace(balancer, members=members)
