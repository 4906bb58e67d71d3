"""Tiers: a standby uplink takes flows only when those before it are not enough."""

from __future__ import annotations

import pytest

from classifier.engine.engine import Engine
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Sticky, Uplink
from classifier.service.explain.flow import first_packet, parse_flow
from classifier.uplinks.placing import Usable, place
from classifier.uplinks.tiers import in_use

MEMBERS = (Member("a", 2, 1), Member("b", 1, 1), Member("c", 1, 2), Member("d", 1, 3))
EXAMPLES = pytest.mark.parametrize(
    ("least_up", "up", "used"),
    [
        (1, "abcd", "ab"),
        (1, "bcd", "b"),
        (1, "cd", "c"),
        (1, "d", "d"),
        (1, "", ""),
        (2, "abcd", "ab"),
        (2, "acd", "ac"),
        (3, "abcd", "abc"),
        (3, "ad", "ad"),
        (9, "abcd", "abcd"),
    ],
)
IPV4 = "udp 10.0.0.1:{} > 192.0.2.1:53"
IPV6 = "udp [fd00::1]:{} > [2001:db8::1]:53"
BOTH: frozenset[4 | 6] = frozenset((4, 6))
ONLY = {4: frozenset((4,)), 6: frozenset((6,))}


def policy(balancer: Balancer) -> Policy:
    uplinks = tuple(
        Uplink(name, number, name, gateway6="auto") for number, name in enumerate("abcd", 1)
    )
    return Policy(Gateway(), Queue(), uplinks, (balancer,), (Rule("all", "x"),))


class Flows:
    """New flows of one engine, each from another port."""

    def __init__(self, **balancer: object) -> None:
        self.policy = policy(Balancer("x", "nth", MEMBERS, **balancer))
        self.engine = Engine(self.policy, seed=7)
        self.ports = iter(range(1, 65536))

    def use(self, usable: Usable) -> None:
        place(self.engine, self.policy, dict.fromkeys("abcd", frozenset()) | dict(usable))

    def placed(self, form: str, count: int = 12) -> str:
        """The uplinks that `count` flows went to, in order; "-" for direct."""
        flows = (parse_flow(form.format(next(self.ports))) for _ in range(count))
        return "".join(self.engine.classify(first_packet(f), 0).uplink or "-" for f in flows)


@EXAMPLES
def test_the_lowest_tiers_that_are_enough_are_in_use(least_up: int, up: str, used: str) -> None:
    members = in_use(Balancer("x", "nth", MEMBERS, least_up=least_up), set(up))
    assert "".join(member.uplink for member in members) == used


@EXAMPLES
@pytest.mark.parametrize("family", [4, 6])
def test_flows_of_a_family_go_to_the_lowest_tiers_that_are_enough_for_it(
    family: int, least_up: int, up: str, used: str
) -> None:
    flows = Flows(least_up=least_up)
    # All are up for the other family, so that its first tiers are enough.
    flows.use({name: BOTH if name in up else BOTH - {family} for name in "abcd"})
    here, other = (IPV4, IPV6) if family == 4 else (IPV6, IPV4)
    assert set(flows.placed(here)) == set(used or "-")
    others = in_use(flows.policy.balancers[0], "abcd")
    assert set(flows.placed(other)) == {member.uplink for member in others}


def test_flows_of_one_family_go_to_the_standby_and_back_without_a_word_to_the_other() -> None:
    flows = Flows()
    flows.use(dict.fromkeys("abcd", BOTH))
    assert flows.placed(IPV4, 1) + flows.placed(IPV6, 1) == "ab"  # one turn for both
    flows.use({"a": ONLY[6], "b": ONLY[6], "c": BOTH, "d": BOTH})
    assert flows.placed(IPV4, 3) == "ccc"
    assert flows.placed(IPV6, 4) == "aaba"  # as if nothing had happened
    flows.use(dict.fromkeys("abcd", BOTH))
    assert flows.placed(IPV6, 1) + flows.placed(IPV4, 1) == "ab"


def test_what_a_standby_is_remembered_for_is_forgotten_with_its_return_to_standby() -> None:
    flows = Flows(sticky=Sticky())
    flows.use({"a": ONLY[6], "b": ONLY[6], "c": BOTH})
    assert flows.placed(IPV4, 2) == "cc"
    assert flows.placed(IPV6, 2) == "aa"
    flows.use({"a": BOTH, "b": ONLY[6], "c": BOTH})
    assert flows.engine.counters().sticky_entries == 1  # of IPv6
    assert flows.placed(IPV4, 2) == "aa"
    assert flows.placed(IPV6, 2) == "aa"
    flows.use({"a": ONLY[6], "b": ONLY[6], "c": BOTH})
    assert flows.placed(IPV4, 1) == "c"  # nor is `a` remembered when it is down


def test_uplinks_that_change_at_once_leave_the_standby_as_it_is() -> None:
    flows = Flows(sticky=Sticky(), least_up=2)
    flows.use({"c": BOTH})
    assert flows.placed(IPV4, 1) == "c"
    flows.use({"a": BOTH, "c": BOTH})
    # One by one, `a` and `b` would be enough for a moment.
    flows.use({"b": BOTH, "c": BOTH})
    assert flows.placed(IPV4, 4) == "cccc"
