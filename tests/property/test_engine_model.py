"""The engine and its plain Python model come to the same decisions."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from model import ByAddress, Model, Packet
from packets import render

from classifier import Classifier
from classifier.engine.load_meter import UplinkLoad
from classifier.policy import (
    Balancer,
    Capacity,
    Gateway,
    Member,
    Policy,
    Queue,
    Rule,
    Sticky,
    Uplink,
)

NAMES = ["wired", "wifi1", "wifi2", "lte", "dsl", "fibre"]
INTERFACES = ["lan0", "lan1", "guest"]
ADDRESSES = [
    [ip_address(a) for a in ("10.0.0.1", "10.0.1.1", "192.168.7.7", "8.8.8.8", "255.255.255.255")],
    [ip_address(a) for a in ("fd00::1", "fd00::1:1", "2001:db8::1", "::ffff:8.8.8.8", "::")],
]
NETWORKS = [
    ip_network(n)
    for n in (
        "10.0.0.0/8", "10.0.0.0/24", "192.168.0.0/16", "8.8.8.8/32", "0.0.0.0/0", "128.0.0.0/1",
        "fd00::/8", "fd00::/112", "2001:db8::1/128", "::/0", "8000::/1", "::/96",
    )
]  # fmt: skip
PORTS = [0, 22, 53, 80, 443, 6667, 65535]
PROTOCOLS = [1, 6, 17, 33, 47, 58, 132, 136]
WITH_PORTS = [6, 17, 33, 132, 136]
METHODS = [
    ("nth", None),
    ("nth", None),
    ("weighted", None),
    ("hash", None),
    ("model:ByAddress", None),
    ("least-loaded", st.sampled_from([0, 1, 30]).map(lambda percent: {"tolerance": percent})),
    ("overflow", st.sampled_from([1, 50, 100]).map(lambda percent: {"share": percent})),
    ("fastest", st.sampled_from([0.001, 0.05]).map(lambda seconds: {"tolerance": seconds})),
]
"""With the options that they must have."""


def several(values, most=3):
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(tuple)


def ranges():
    pair = st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)).map(sorted).map(tuple)
    return st.lists(pair, max_size=3).map(tuple)


def sometimes(strategy):
    """Most rules leave most fields open, or nothing would ever match."""
    return st.one_of(st.just(()), st.just(()), strategy)


@st.composite
def balancers(draw, names, index, later):
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    sticky = st.builds(
        Sticky,
        by=st.sampled_from(["remote", "local", "local+remote"]),
        timeout=st.sampled_from([0.5, 3.0, 20.0]),
        prefix4=st.sampled_from([0, 8, 24, 31, 32]),
        prefix6=st.sampled_from([0, 16, 64, 112, 128]),
        size=st.just(1000),
    )
    method, option = draw(st.sampled_from(METHODS))
    return Balancer(
        name=f"balancer{index}",
        method=method,
        options=draw(option) if option is not None else {},
        custom=ByAddress if ":" in method else None,
        members=tuple(
            Member(name, draw(st.integers(1, 40)), draw(st.sampled_from([1, 1, 2, 255])))
            for name in chosen
        ),
        least_up=draw(st.integers(1, len(chosen))),
        sticky=draw(st.none() | sticky),
        fallback=draw(st.sampled_from(["direct", "drop", *names, *later])),
    )


def rules(targets):
    return st.builds(
        Rule,
        name=st.uuids().map(str),
        use=st.sampled_from(targets),
        strict=st.booleans(),
        from_=sometimes(several(NETWORKS)),
        to=sometimes(several(NETWORKS)),
        protocols=sometimes(several(PROTOCOLS)),
        from_ports=sometimes(ranges()),
        to_ports=sometimes(ranges()),
        in_interfaces=sometimes(several(INTERFACES)),
        family=st.sampled_from([None, None, None, "ipv4", "ipv6"]),
        users=sometimes(several([0, 1000, 4294967294])),
        dscp=sometimes(several([0, 46, 63])),
    )


@st.composite
def policies(draw):
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    gateways6 = st.sampled_from([None, "auto", "auto", "auto"])
    uplinks = tuple(
        Uplink(
            name,
            number,
            f"up{number}",
            gateway6=draw(gateways6),
            capacity=draw(st.sampled_from([None, Capacity(1000, 500), Capacity(100, 800)])),
        )
        for number, name in enumerate(names, 1)
    )
    made: list[Balancer] = []
    for index in range(draw(st.integers(0, 3))):
        made.append(draw(balancers(names, index, [b.name for b in made])))
    targets = ["direct", "drop", *names, *([b.name for b in made] * 4)]
    return Policy(
        Gateway(lan=("lan0",)), Queue(), uplinks, tuple(made),
        tuple(draw(st.lists(rules(targets), max_size=8))),
    )  # fmt: skip


@st.composite
def packets(draw):
    addresses = draw(st.sampled_from(ADDRESSES))
    protocol = draw(st.sampled_from(PROTOCOLS))
    ports = st.sampled_from(PORTS) if protocol in WITH_PORTS else st.none()
    return Packet(
        src=draw(st.sampled_from(addresses)),
        dst=draw(st.sampled_from(addresses)),
        protocol=protocol,
        sport=draw(ports),
        dport=draw(ports),
        dscp=draw(st.sampled_from([0, 46, 63])),
        interface=draw(st.sampled_from([None, *INTERFACES, "other"])),
        user=draw(st.sampled_from([None, None, 0, 1000, 4294967294])),
    )


@dataclass(frozen=True)
class Measurement:
    loads: dict[str, tuple[float, float, float | None, float, float]]
    expected: tuple[float, float]
    fading: float


def measurements():
    rates = st.sampled_from([0.0, 10.0, 50.0, 400.0, 990.0])
    latency = st.sampled_from([None, 0.005, 0.02, 0.021, 0.3])
    shown = st.sampled_from([0.0, 0.0, 7.0, 100.0])
    return st.builds(
        Measurement,
        loads=st.dictionaries(
            st.sampled_from(NAMES), st.tuples(rates, rates, latency, shown, shown)
        ),
        expected=st.tuples(*[st.sampled_from([0.0, 5.0, 60.0])] * 2),
        fading=st.sampled_from([0.0, 0.25, 0.9]),
    )


steps = st.lists(
    st.one_of(
        packets(),
        packets(),
        packets(),
        st.sampled_from([1, 400, 2500, 5000, 20000]),
        st.dictionaries(
            st.sampled_from(NAMES), st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=3
        ),
        measurements(),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(policy=policies(), seed=st.integers(0, 2**64 - 1), steps=steps)
def test_every_decision_is_the_one_the_model_makes(policy, seed, steps):
    classifier = Classifier(policy, seed)
    model = Model(policy, seed)
    names = {uplink.name for uplink in policy.uplinks}
    now = 0
    for step in steps:
        if isinstance(step, int):
            now += step
        elif isinstance(step, Measurement):
            known = {name: load for name, load in step.loads.items() if name in names}
            classifier.engine.set_loads(
                {name: UplinkLoad(*load) for name, load in known.items()},
                step.expected,
                step.fading,
            )
            model.set_loads(known, step.expected, step.fading)
        elif isinstance(step, dict):
            known = {name: able for name, able in step.items() if name in names}
            classifier.engine.set_usable_families(known)
            model.set_usable(known)
        else:
            got = classifier.classify(render(step), now / 1000, step.interface, step.user)
            assert (got.uplink, got.rule, got.reason, got.mark) == model.decide(step, now)


@settings(max_examples=60, deadline=None)
@given(
    policy=policies(),
    seed=st.integers(0, 2**64 - 1),
    batches=st.lists(st.lists(packets(), max_size=150), min_size=1, max_size=3),
)
def test_a_batch_is_decided_like_its_packets_one_by_one(policy, seed, batches):
    together = Classifier(policy, seed)
    single = Classifier(policy, seed)
    for now, batch in enumerate(batches):
        data = [render(packet) for packet in batch]
        one_by_one = [single.classify(packet, now, "lan0") for packet in data]
        assert together.classify_many(data, now, "lan0") == one_by_one
    assert together.counters() == single.counters()
