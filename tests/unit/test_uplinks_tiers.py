"""Tiers: a standby uplink takes flows only when those before it are not enough."""

from __future__ import annotations

import pytest

from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Uplink
from classifier.uplinks.tiers import with_active_tiers

MEMBERS = (Member("a", 2, 1), Member("b", 1, 1), Member("c", 1, 2), Member("d", 1, 3))


@pytest.mark.parametrize(
    ("least_up", "up", "active"),
    [
        (1, "abcd", "ab"),
        (1, "bcd", "ab"),  # a stays: its turns go on when it is back
        (1, "cd", "abc"),
        (1, "d", "abcd"),
        (1, "", "abcd"),
        (2, "abcd", "ab"),
        (2, "acd", "abc"),
        (3, "abcd", "abc"),
        (3, "ad", "abcd"),
        (9, "abcd", "abcd"),
    ],
)
def test_the_lowest_tiers_that_are_enough_are_in_use(least_up: int, up: str, active: str) -> None:
    uplinks = tuple(Uplink(name, number, name) for number, name in enumerate("abcd", 1))
    made = Balancer("x", "nth", MEMBERS, least_up=least_up)
    policy = Policy(Gateway(), Queue(), uplinks, (made,))
    [balancer] = with_active_tiers(policy, set(up)).balancers
    assert "".join(member.uplink for member in balancer.members) == active


def test_without_tiers_the_policy_is_the_same_object() -> None:
    members = tuple(Member(name, 1) for name in "ab")
    uplinks = tuple(Uplink(name, number, name) for number, name in enumerate("ab", 1))
    policy = Policy(Gateway(), Queue(), uplinks, (Balancer("x", "nth", members),))
    assert with_active_tiers(policy, {"b"}) is policy
