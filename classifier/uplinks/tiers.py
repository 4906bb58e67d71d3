"""Which uplinks of a balancer take new flows."""

from __future__ import annotations

from collections.abc import Container

from classifier.policy import Balancer, Member


def taking(balancer: Balancer, up: Container[str]) -> tuple[Member, ...]:
    """The members that new flows are spread over, in the order of the file, with their weights.

    `up`: names of the uplinks that take new flows. Tiers join from the lowest on until
    `least_up` members are up; with 1, the next tier is used only when none of those before is up.
    Fewer are returned where no more are up.
    """
    usable = [member for member in balancer.members if member.uplink in up]
    ranked = sorted(member.tier for member in usable)
    if not ranked:
        return ()
    last = ranked[min(balancer.least_up, len(ranked)) - 1]
    return tuple(member for member in usable if member.tier <= last)
