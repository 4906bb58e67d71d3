"""Any bytes at all come out as a decision, and nothing behind them is read.

Under `make asan` every buffer here ends exactly where its heap block ends, so that one byte read
too far is reported.
"""

from __future__ import annotations

import ctypes
from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from model import Packet
from packets import render
from probes import headers
from test_engine_model import packets

from classifier import Classifier
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Sticky, Uplink

BLOCK = 4096
EXTENSIONS = [0, 43, 44, 51, 60, 135, 139, 140]


def heap_end(data: bytes) -> memoryview:
    """The bytes at the very end of a heap block of their own."""
    block = ctypes.create_string_buffer(BLOCK)
    view = memoryview(block).cast("B")[BLOCK - len(data) :]
    view[:] = data
    return view


def whole_policy():
    uplinks = (
        Uplink("a", 1, "eth0", gateway6="auto"),
        Uplink("b", 2, "eth1"),
        Uplink("c", 3, "eth2", gateway6="auto"),
    )
    members = (Member("a", 3), Member("b", 2), Member("c", 1))
    return Policy(
        Gateway(lan=("lan0",)),
        Queue(),
        uplinks,
        (
            Balancer("turns", "nth", members, Sticky("local+remote", size=16)),
            Balancer("draws", "weighted", members, Sticky("remote", 1.0, 8, 16, 3)),
            Balancer("hashes", "hash", members, fallback="turns"),
        ),
        (
            Rule("pinned", "b", protocols=(6, 132), to_ports=((0, 1024),)),
            Rule("some", "draws", to=(ip_network("128.0.0.0/1"), ip_network("8000::/1"))),
            Rule("more", "hashes", dscp=tuple(range(0, 64, 2))),
            Rule("rest", "turns"),
        ),
    )


shared = Classifier(whole_policy(), seed=1)
names = {"a", "b", "c", None}


def check(data: bytes, now: float) -> None:
    decision = shared.classify(heap_end(data), now)
    malformed = headers(heap_end(data))["malformed"]
    assert 0 <= malformed <= max(len(data), 128) + 2048
    assert (decision.reason == "malformed") == bool(malformed)
    assert decision.uplink in names
    if malformed:
        assert (decision.uplink, decision.rule, decision.mark) == (None, None, 0)


@settings(max_examples=1500, deadline=None)
@given(data=st.binary(max_size=200), now=st.floats(0, 1e12))
def test_random_bytes_are_decided(data, now):
    check(data, now)


@settings(max_examples=1500, deadline=None)
@given(data=st.binary(min_size=39, max_size=160), version=st.sampled_from([0x45, 0x4F, 0x60]))
def test_random_bytes_behind_a_plausible_version_are_decided(data, version):
    check(bytes([version]) + data, 0.0)


@settings(max_examples=1500, deadline=None)
@given(
    chain=st.lists(
        st.tuples(
            st.sampled_from(EXTENSIONS), st.integers(0, 3), st.binary(min_size=6, max_size=6)
        ),
        max_size=14,
    ),
    last=st.integers(0, 255),
    length=st.integers(0, 200),
    tail=st.binary(max_size=40),
    cut=st.integers(0, 250),
)
def test_chains_of_extension_headers_are_decided_wherever_they_end(chain, last, length, tail, cut):
    kinds = [kind for kind, _, _ in chain] + [last]
    data = b"\x60\0\0\0" + length.to_bytes(2) + bytes([kinds[0], 64]) + bytes(range(32))
    for position, (_, words, body) in enumerate(chain):
        data += bytes([kinds[position + 1], words]) + body + bytes(8 * words)
    check((data + tail)[:cut], 0.0)


@settings(max_examples=500, deadline=None)
@given(
    packet=packets(),
    cut=st.integers(0, 60),
    position=st.integers(0, 59),
    value=st.binary(min_size=1, max_size=1),
)
def test_damaged_packets_are_decided(packet: Packet, cut, position, value):
    data = bytearray(render(packet))
    if position < len(data):
        data[position : position + 1] = value
    check(bytes(data[:cut]), 0.0)
    check(bytes(data), 0.0)


@settings(max_examples=1000, deadline=None)
@given(
    start=st.sampled_from([b"\x45", b"\x4f", b"\x60\0\0\0\0\0\0", b"\x60\0\0\0\0\0\x3c"]),
    data=st.lists(st.binary(min_size=8, max_size=8), min_size=16, max_size=30).map(b"".join),
)
def test_the_queues_copy_of_128_bytes_is_read_like_the_whole_packet(start, data):
    whole, copied = headers(start + data), headers((start + data)[:128])
    # A packet that does not state its length has the one that is there.
    assert {**copied, "length": 0} == {**whole, "length": 0}
