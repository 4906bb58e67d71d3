"""Which uplinks of a balancer are in use: those of the lowest tiers that are enough.

The engine decides by the same rule, for IPv4 and IPv6 each by itself; this one is for reports.
"""

from __future__ import annotations

from collections.abc import Container

from classifier.policy import Balancer, Member


def in_use(balancer: Balancer, up: Container[str]) -> tuple[Member, ...]:
    """Of the uplinks that are `up`, those of the lowest tiers that have `least_up` of them; with 1,
    the next tier is used only when none of those before is up."""
    members = [member for member in balancer.members if member.uplink in up]
    ranked = sorted(member.tier for member in members)
    if not ranked:
        return ()
    last = ranked[min(balancer.least_up, len(ranked)) - 1]
    return tuple(member for member in members if member.tier <= last)
