"""Shares: what each method promises about how many flows an uplink gets."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import count, pairwise
from math import sqrt

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model import Packet
from packets import render

from classifier import Classifier
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Sticky, Uplink

IPV4, IPV6 = 4, 6


def balanced(method, weights, sticky=None):
    uplinks = tuple(
        Uplink(f"up{i}", i, f"eth{i}", gateway6="auto") for i in range(1, len(weights) + 1)
    )
    members = tuple(Member(u.name, w) for u, w in zip(uplinks, weights, strict=True))
    balancer = Balancer("all", method, members, sticky, fallback="drop")
    return Policy(Gateway(), Queue(), uplinks, (balancer,), (Rule("rest", "all"),))


def flow(number, family=IPV4):
    """The first packet of one of many different flows, each to a remote of its own."""
    if family == IPV4:
        src, dst = ip_address("10.0.0.1"), ip_address(0x08000000 + number)
    else:
        src, dst = ip_address("fd00::1"), ip_address((0x20010DB8 << 96) + number)
    return render(Packet(src, dst, 17, 1024 + number % 60000, 53))


def place(classifier, numbers, family=IPV4):
    return [d.uplink for d in classifier.classify_many([flow(n, family) for n in numbers], 0.0)]


def assert_within_one_flow(placed, weights):
    total = sum(weights)
    got = [0] * len(weights)
    for turn, uplink in enumerate(placed, 1):
        got[int(uplink.removeprefix("up")) - 1] += 1
        for position, weight in enumerate(weights):
            assert abs(got[position] * total - turn * weight) < total, (turn, uplink, got)


weights_of_many = st.one_of(
    st.lists(st.integers(1, 12), min_size=2, max_size=12),
    st.lists(st.integers(1, 2**31), min_size=2, max_size=12),
    st.lists(st.sampled_from([1, 1, 2, 50, 99, 1000]), min_size=2, max_size=12),
)


@settings(max_examples=120, deadline=None)
@given(weights=weights_of_many, turns=st.integers(50, 900))
@example(weights=[1, 1], turns=900)
@example(weights=[34, 33, 33], turns=900)
@example(weights=[5, 2, 1], turns=900)
@example(weights=[5, 2, 1, 1, 1], turns=900)
@example(weights=[1, 1, 1, 1, 1, 1, 5, 5, 5, 9], turns=900)
def test_nth_never_strays_a_whole_flow_from_the_ideal(weights, turns):
    classifier = Classifier(balanced("nth", weights), seed=1)
    assert_within_one_flow(place(classifier, range(turns)), weights)


def test_nth_sends_flows_in_nginx_order():
    classifier = Classifier(balanced("nth", [5, 1, 1]), seed=1)
    names = {"up1": "a", "up2": "b", "up3": "c"}
    assert "".join(names[u] for u in place(classifier, range(14))) == "aabacaa" * 2


def test_ipv4_and_ipv6_flows_take_turns_together_when_the_same_uplinks_can_take_them():
    weights = [3, 2]
    classifier = Classifier(balanced("nth", weights), seed=1)
    numbers = count()
    placed = []
    for turn in range(200):
        placed += place(classifier, [next(numbers)], IPV4 if turn % 3 else IPV6)
    assert_within_one_flow(placed, weights)


def test_each_family_has_its_exact_shares_when_an_uplink_takes_one_of_them_only():
    classifier = Classifier(balanced("nth", [2, 2, 1]), seed=1)
    classifier.engine.set_usable("up3", ipv4=True, ipv6=False)
    ipv4, ipv6 = [], []
    for number in range(200):
        ipv4 += place(classifier, [number], IPV4)
        ipv6 += place(classifier, [2 * number, 2 * number + 1], IPV6)
    assert_within_one_flow(ipv4, [2, 2, 1])
    assert_within_one_flow(ipv6, [2, 2])


def test_an_uplink_that_loses_ipv6_does_not_disturb_the_turns_of_ipv4():
    weights = [5, 3, 3]
    classifier = Classifier(balanced("nth", weights), seed=1)
    placed = place(classifier, range(5))
    classifier.engine.set_usable("up2", ipv4=True, ipv6=False)
    placed += place(classifier, range(5, 9))
    classifier.engine.set_usable("up2", ipv4=True, ipv6=True)
    placed += place(classifier, range(9, 40))
    assert_within_one_flow(placed, weights)


def test_shares_of_the_others_are_exact_after_an_uplink_went_down():
    classifier = Classifier(balanced("nth", [1, 1, 2]), seed=1)
    place(classifier, range(3))
    classifier.set_up("up2", False)
    placed = place(classifier, range(3, 60))
    assert_within_one_flow([u.replace("up3", "up2") for u in placed], [1, 2])


@pytest.mark.parametrize("method", ["weighted", "hash"])
@pytest.mark.parametrize("weights", [[1, 1], [34, 33, 33], [5, 2, 1], [7, 1, 1, 1, 90]])
def test_shares_of_random_methods_are_within_the_99_9_percent_interval(method, weights):
    flows = 20000
    classifier = Classifier(balanced(method, weights), seed=20050101)
    placed = place(classifier, range(flows))
    for position, weight in enumerate(weights, 1):
        share = weight / sum(weights)
        deviation = 3.29 * sqrt(flows * share * (1 - share))
        assert abs(placed.count(f"up{position}") - flows * share) <= deviation


def test_weighted_draws_do_not_depend_on_the_draw_before():
    classifier = Classifier(balanced("weighted", [1, 1]), seed=3)
    placed = place(classifier, range(20000))
    repeated = sum(a == b for a, b in pairwise(placed))
    assert abs(repeated - 10000) <= 3.29 * sqrt(20000 / 4)


@settings(max_examples=30, deadline=None)
@given(
    weights=st.lists(st.integers(1, 100), min_size=2, max_size=8),
    seed=st.integers(0, 2**64 - 1),
    data=st.data(),
)
def test_hash_moves_only_the_flows_of_the_uplink_that_goes(weights, seed, data):
    classifier = Classifier(balanced("hash", weights), seed)
    gone = f"up{data.draw(st.integers(1, len(weights)))}"
    before = place(classifier, range(300))
    classifier.set_up(gone, False)
    after = [d.uplink for d in classifier.classify_many([flow(n) for n in range(300)], 10.0)]
    for old, new in zip(before, after, strict=True):
        assert new != gone
        assert old in (new, gone)
    classifier.set_up(gone, True)
    assert [
        d.uplink for d in classifier.classify_many([flow(n) for n in range(300)], 20.0)
    ] == before


def test_hash_gives_a_remote_the_same_uplink_on_every_gateway_with_the_same_seed():
    one, other = (Classifier(balanced("hash", [3, 2, 1]), seed=9) for _ in range(2))
    for gateway in (one, other):
        gateway.classify(flow(4711), 0.0)
    assert place(one, range(500)) == place(other, range(500))
    different = Classifier(balanced("hash", [3, 2, 1]), seed=10)
    assert place(one, range(500)) != place(different, range(500))


def test_hash_keeps_a_whole_network_together_when_told_a_prefix():
    sticky = Sticky("remote", prefix4=24)
    classifier = Classifier(balanced("hash", [1, 1, 1], sticky), seed=2)
    assert len(set(place(classifier, range(256)))) == 1
    assert len(set(place(classifier, range(256 * 40)))) == 3
