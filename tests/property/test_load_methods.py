"""Methods that go by load: as the model says, whatever is measured, and what they promise."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address
from itertools import count, islice

from hypothesis import given, settings
from hypothesis import strategies as st
from model import Model, Packet
from packets import render

from classifier import Classifier
from classifier.engine.load_meter import UplinkLoad
from classifier.policy import Balancer, Capacity, Gateway, Member, Policy, Queue, Rule, Uplink

NAMES = ["a", "b", "c", "d"]
RATES = st.sampled_from([0.0, 10.0, 50.0, 90.0, 400.0, 700.0])
OPTIONS = {
    "least-loaded": {"tolerance": (0, 1, 30)},
    "overflow": {"share": (1, 50, 100)},
    "fastest": {"tolerance": (0.001, 0.02)},
}


def balanced(method, options, weights, capacities):
    uplinks = tuple(
        Uplink(name, number, f"eth{number}", gateway6="auto", capacity=capacity)
        for number, (name, capacity) in enumerate(zip(NAMES, capacities, strict=False), 1)
    )
    members = tuple(Member(u.name, w) for u, w in zip(uplinks, weights, strict=True))
    balancer = Balancer("all", method, members, options=options)
    return Policy(Gateway(), Queue(), uplinks, (balancer,), (Rule("rest", "all"),))


@st.composite
def policies(draw):
    method = draw(st.sampled_from(list(OPTIONS)))
    options = {key: draw(st.sampled_from(values)) for key, values in OPTIONS[method].items()}
    capacity = st.builds(
        Capacity, down=st.sampled_from([100, 800, 1000]), up=st.sampled_from([100, 500])
    )
    capacities = draw(st.lists(capacity, min_size=2, max_size=4))
    weights = [draw(st.integers(1, 3)) for _ in capacities]
    return balanced(method, options, weights, capacities)


SHOWN = st.sampled_from([0.0, 0.0, 15.0, 200.0])
LOAD = st.tuples(RATES, RATES, st.sampled_from([None, 0.005, 0.02, 0.021, 0.3]), SHOWN, SHOWN)
MEASUREMENTS = st.tuples(
    st.dictionaries(st.sampled_from(NAMES), LOAD, min_size=1),
    st.tuples(st.sampled_from([0.0, 3.0, 60.0]), st.sampled_from([0.0, 20.0])),
    st.sampled_from([0.0, 0.5, 0.9]),
)
STEPS = st.lists(st.one_of(MEASUREMENTS, st.integers(1, 12)), min_size=2, max_size=30)


@settings(max_examples=200, deadline=None)
@given(policy=policies(), steps=STEPS)
def test_every_flow_goes_where_the_model_puts_it(policy, steps):
    classifier, model, numbers = Classifier(policy, 1), Model(policy, 1), count()
    for step in steps:
        if isinstance(step, int):
            for number in islice(numbers, step):
                packet = described(number, 6 if number % 4 == 2 else 4)
                got = classifier.classify(render(packet), 0.0)
                uplink, _, reason, _ = model.decide(packet, 0)
                assert (got.uplink, got.reason) == (uplink, reason)
            continue
        loads, expected, fading = step
        known = {u.name: loads[u.name] for u in policy.uplinks if u.name in loads}
        classifier.engine.set_loads(
            {name: UplinkLoad(*load) for name, load in known.items()}, expected, fading
        )
        model.set_loads(known, expected, fading)


def described(number, family):
    """A packet of one of many different flows, each to a remote of its own."""
    src, dst = "10.0.0.1", 0x08000000 + number
    if family == 6:
        src, dst = "fd00::1", (0x20010DB8 << 96) + number
    return Packet(ip_address(src), ip_address(dst), 17, 1024 + number % 60000, 53)


def place(classifier, start, amount):
    packets = [render(described(number, 4)) for number in range(start, start + amount)]
    return Counter(decision.uplink for decision in classifier.classify_many(packets, 0.0))


@settings(max_examples=100, deadline=None)
@given(
    capacities=st.lists(st.integers(1_000, 100_000), min_size=2, max_size=4),
    rates=st.lists(st.integers(0, 100_000), min_size=4, max_size=4),
    brings=st.integers(1, 500),
    flows=st.integers(1, 300),
)
def test_a_burst_leaves_no_uplink_fuller_than_its_last_flow_made_it(
    capacities, rates, brings, flows
):
    """What greedy placing promises: nowhere else would its last flow have done better."""
    policy = balanced(
        "least-loaded", {"tolerance": 0}, [1] * len(capacities),
        [Capacity(capacity, 1) for capacity in capacities],
    )  # fmt: skip
    classifier = Classifier(policy, 1)
    measured = dict(zip(NAMES, rates[: len(capacities)], strict=False))
    loads = {name: UplinkLoad(rate, 0.0) for name, rate in measured.items()}
    classifier.engine.set_loads(loads, (brings, 0.0))
    placed = place(classifier, 0, flows)
    share = {
        name: (measured[name] + brings * placed[name]) / capacity
        for name, capacity in zip(NAMES, capacities, strict=False)
    }
    for name in share:
        if placed[name]:
            others = zip(NAMES, capacities, strict=False)
            assert share[name] <= min(share[o] + brings / c for o, c in others if o != name) + 1e-9


def test_the_next_uplink_gets_flows_only_once_the_first_has_its_share():
    policy = balanced("overflow", {"share": 80}, [1, 9], [Capacity(1000, 1000)] * 2)
    classifier = Classifier(policy, 1)
    classifier.engine.set_loads({"a": UplinkLoad(500.0, 0.0)}, (100.0, 0.0))
    assert place(classifier, 0, 3) == {"a": 3}
    assert place(classifier, 3, 8) == {"b": 8}
    # Both have theirs: to the least loaded.
    assert place(classifier, 11, 2) == {"a": 1, "b": 1}


def test_noise_of_latencies_within_the_tolerance_moves_no_flow():
    policy = balanced("fastest", {"tolerance": 0.01}, [2, 1, 5], [None] * 3)
    classifier = Classifier(policy, 1)
    for turn in range(10):
        noise = 0.008 if turn % 2 else 0.0
        classifier.engine.set_loads({
            "a": UplinkLoad(0.0, 0.0, 0.02 + noise),
            "b": UplinkLoad(0.0, 0.0, 0.028 - noise),
            "c": UplinkLoad(0.0, 0.0, 0.2),
        })  # fmt: skip
        assert place(classifier, turn * 30, 30) == {"a": 20, "b": 10}


def test_without_any_latency_the_weights_decide():
    policy = balanced("fastest", {"tolerance": 0.01}, [2, 1, 3], [None] * 3)
    assert place(Classifier(policy, 1), 0, 60) == {"a": 20, "b": 10, "c": 30}
