"""`hash` goes by names and seed alone: gateways of one seed agree, whatever order and ids are."""

from __future__ import annotations

import random
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from model import Packet
from packets import render

from classifier import Classifier
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Uplink

WEIGHTS = {"wired": 3, "wifi": 1, "wifi-of-the-neighbours": 2, "lte": 1, "a": 5, "b": 1}


def gateway(names: list[str], ids: list[int], seed: int) -> Classifier:
    uplinks = tuple(
        Uplink(name, number, f"eth{number}", gateway6="auto")
        for name, number in zip(names, ids, strict=True)
    )
    balancer = Balancer("all", "hash", tuple(Member(name, WEIGHTS[name]) for name in names))
    policy = Policy(Gateway(), Queue(), uplinks, (balancer,), (Rule("rest", "all"),))
    return Classifier(policy, seed)


def flows(count: int) -> list[bytes]:
    chance = random.Random(3)
    return [
        render(
            Packet(ip_address("192.168.1.2"), ip_address(0x08000000 + chance.getrandbits(24)), 6)
            if chance.random() < 0.7
            else Packet(
                ip_address("fd00::2"), ip_address(0x20010DB8 << 96 | chance.getrandbits(64)), 6
            )
        )
        for _ in range(count)
    ]


@settings(max_examples=50, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(WEIGHTS)), min_size=2, unique=True),
    data=st.data(),
    seed=st.integers(0, 2**64 - 1),
)
def test_gateways_of_one_seed_agree_whatever_the_order_and_ids_of_their_uplinks(names, data, seed):
    order = data.draw(st.permutations(names))
    ids = st.lists(st.integers(1, 61), min_size=len(names), max_size=len(names), unique=True)
    one, other = gateway(names, data.draw(ids), seed), gateway(order, data.draw(ids), seed)
    packets = flows(100)
    assert [d.uplink for d in one.classify_many(packets, 0.0)] == [
        d.uplink for d in other.classify_many(packets, 0.0)
    ]


def test_another_seed_is_another_choice():
    names = sorted(WEIGHTS)
    ids = list(range(1, len(names) + 1))
    packets = flows(300)
    one, other = (gateway(names, ids, seed).classify_many(packets, 0.0) for seed in (1, 2))
    same = sum(a.uplink == b.uplink for a, b in zip(one, other, strict=True))
    # By chance: the sum of the squared shares, 41/169.
    assert 0.15 < same / len(packets) < 0.35


def test_uplinks_get_flows_by_their_weights_also_where_names_are_alike():
    names = ["wifi", "wifi-of-the-neighbours"]
    packets = flows(6000)
    taken = [d.uplink for d in gateway(names, [1, 2], 7).classify_many(packets, 0.0)]
    assert abs(taken.count("wifi") / len(taken) - 1 / 3) < 0.03
