"""Policies that follow each other while flows are decided: what goes on, and what ends."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from model import ByAddress, Model, Packet
from packets import render

from classifier import Classifier
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Sticky, Uplink

NAMES = ["wired", "wifi", "lte", "dsl"]
ADDRESSES = [
    [ip_address(a) for a in ("10.0.0.1", "10.0.0.2", "8.8.8.8", "8.8.8.9")],
    [ip_address(a) for a in ("fd00::1", "2001:db8::1", "2001:db8::2")],
]


@st.composite
def packets(draw):
    """Few enough flows and remotes that most come again."""
    addresses = draw(st.sampled_from(ADDRESSES))
    src, dst = draw(st.sampled_from(addresses)), draw(st.sampled_from(addresses))
    return Packet(src, dst, 17, draw(st.integers(1, 4)), draw(st.sampled_from([53, 53, 80])))


def mostly(usual, *others):
    return st.sampled_from([usual] * 5 + list(others))


class Author:
    """Writes policies alike enough that much of one is in the next: names, ids, sticky keys."""

    def __init__(self, number: int) -> None:
        self.chance = random.Random(number)

    def mostly(self, usual, *others):
        return usual if self.chance.random() < 0.9 else self.chance.choice(others)

    def uplinks(self):
        for number, name in enumerate(NAMES, 1):
            if number == 1 or self.mostly(True, False):
                id, gateway6 = self.mostly(number, number + 4), self.mostly("auto", None)
                yield Uplink(name, id, f"up{number}", gateway6=gateway6)

    def balancer(self, name, uplinks):
        sticky = Sticky(
            timeout=self.mostly(20.0, 3.0),
            prefix4=self.mostly(32, 24),
            prefix6=64,
            size=self.mostly(1000, 2000),
        )
        return Balancer(
            name=name,
            method=(method := self.mostly("nth", "weighted", "hash", "fastest", "model:ByAddress")),
            options={"tolerance": 0.01} if method == "fastest" else {},
            custom=ByAddress if ":" in method else None,
            members=tuple(
                Member(u, self.mostly(number % 2 + 1, 4), self.mostly(number // 2 + 1, 1))
                for number, u in enumerate(uplinks)
                if number == 0 or self.mostly(True, False)
            ),
            sticky=self.mostly(sticky, None),
            least_up=self.mostly(1, 2),
            fallback=self.chance.choice(["direct", "drop", *uplinks]),
        )

    def policy(self):
        uplinks = tuple(self.uplinks())
        names = [uplink.name for uplink in uplinks]
        balancers = [self.balancer("all", names), self.balancer("other", names)]
        self.chance.shuffle(balancers)
        rules = [
            Rule("port 80", self.mostly("wired", "direct", "drop"), to_ports=((80, 80),)),
            Rule("host", "other", from_=(ip_network("10.0.0.1"),)),
            Rule("rest", self.mostly("all", "other")),
        ]
        first = self.mostly(0, 1, 2)
        return Policy(Gateway(), Queue(), uplinks, tuple(balancers), tuple(rules[first:]))


def policies():
    return st.integers(0, 2**32).map(lambda number: Author(number).policy())


families = st.tuples(mostly(True, False), mostly(True, False))
steps = st.lists(
    st.one_of(
        packets(),
        packets(),
        packets(),
        st.sampled_from([1, 2500, 5000]),
        st.sampled_from([*NAMES, None]),
        st.tuples(st.sampled_from(NAMES), mostly(True, False), mostly(True, False)),
        st.tuples(policies(), st.dictionaries(st.sampled_from(NAMES), families)),
    ),
    min_size=20,
    max_size=80,
)


class Counted:
    """What the engine has to have counted: by name, as long as a name stays what it is."""

    def __init__(self) -> None:
        self.uplinks: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self.rules_ipv6: Counter[str] = Counter()
        self.others: Counter[str] = Counter()

    def decided(self, uplink, rule, reason, family):
        self.others["packets"] += 1
        if reason == "in-flight":
            self.others["in_flight"] += 1
            return
        if rule is not None:
            self.rules[rule] += 1
            self.rules_ipv6[rule] += family == 6
        if uplink is not None:
            self.uplinks[uplink] += 1
        else:
            self.others["dropped" if reason == "drop" else "direct"] += 1

    def replaced(self, before: Policy, after: Policy):
        ids = {u.name: u.id for u in before.uplinks}
        kept = {u.name for u in after.uplinks if ids.get(u.name) == u.id}
        rules = {r.name for r in before.rules} & {r.name for r in after.rules}
        self.uplinks = Counter({n: c for n, c in self.uplinks.items() if n in kept})
        self.rules = Counter({n: c for n, c in self.rules.items() if n in rules})
        self.rules_ipv6 = Counter({n: c for n, c in self.rules_ipv6.items() if n in rules})

    def check(self, classifier: Classifier):
        counters = classifier.counters()
        assert counters.uplinks == {u.name: self.uplinks[u.name] for u in classifier.policy.uplinks}
        rules = classifier.policy.rules
        assert counters.rules == tuple(self.rules[r.name] for r in rules)
        assert counters.rules_ipv6 == tuple(self.rules_ipv6[r.name] for r in rules)
        for name in ("packets", "in_flight", "direct", "dropped"):
            assert getattr(counters, name) == self.others[name]


@settings(max_examples=150, deadline=None)
@given(policy=policies(), seed=st.integers(0, 2**64 - 1), steps=steps)
def test_decisions_and_counters_go_on_as_the_model_says(policy, seed, steps):
    classifier, model, counted = Classifier(policy, seed), Model(policy, seed), Counted()
    now = 0
    for step in steps:
        names = {uplink.name for uplink in classifier.policy.uplinks}
        if isinstance(step, int):
            now += step
        elif step is None or isinstance(step, str):
            if step is None or step in names:
                classifier.engine.forget_in_flight(step)
                model.forget_in_flight(step)
        elif isinstance(step, tuple) and isinstance(step[0], Policy):
            policy, usable = step[0], {}
            usable = {u.name: step[1][u.name] for u in policy.uplinks if u.name in step[1]}
            counted.replaced(classifier.policy, policy)
            classifier.engine.replace_policy(policy, usable)
            model.replace_policy(policy, usable)
            assert classifier.policy == policy
        elif isinstance(step, tuple):
            if step[0] in names:
                classifier.engine.set_usable(*step)
                model.set_usable({step[0]: step[1:]})
        else:
            got = classifier.classify(render(step), now / 1000, step.interface, step.user)
            assert (got.uplink, got.rule, got.reason, got.mark) == model.decide(step, now)
            counted.decided(got.uplink, got.rule, got.reason, step.family)
        counted.check(classifier)


@settings(max_examples=120, deadline=None)
@given(
    several=st.lists(policies(), min_size=2, max_size=5),
    flows=st.lists(packets(), min_size=1, max_size=20),
    seed=st.integers(0, 2**64 - 1),
)
def test_no_flow_in_flight_changes_its_uplink_while_that_is_there(several, flows, seed):
    classifier = Classifier(several[0], seed)
    first = {flow: classifier.classify(render(flow), 0.0, flow.interface) for flow in flows}
    there = {u.name: u.id for u in several[0].uplinks}
    for policy in several[1:]:
        classifier.engine.replace_policy(policy, {u.name: (True, True) for u in policy.uplinks})
        now = {u.name: u.id for u in policy.uplinks}
        there = {n: i for n, i in there.items() if now.get(n) == i}
        for flow, decision in first.items():
            able = flow.family == 4 or (
                decision.uplink in there and policy.uplink(decision.uplink).gateway6 is not None
            )
            if decision.uplink in there and able:
                again = classifier.classify(render(flow), 4.0, flow.interface)
                assert (again.uplink, again.reason) == (decision.uplink, "in-flight")
            elif decision.uplink is not None:
                there.pop(decision.uplink, None)
