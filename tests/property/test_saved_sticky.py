"""Any bytes in place of saved sticky entries: they are put in, or refused with one clear error."""

from __future__ import annotations

import json
import struct
import zlib
from ipaddress import ip_address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model import Packet
from packets import render

from classifier.engine.engine import Engine
from classifier.engine.sticky_file import export_sticky, import_sticky
from classifier.errors import UsageError
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Sticky, Uplink

UPLINKS = (Uplink("a", 1, "up1"), Uplink("b", 2, "up2", gateway6="auto"))
MEMBERS = (Member("a", 1), Member("b", 2))
POLICY = Policy(
    Gateway(),
    Queue(),
    UPLINKS,
    (Balancer("all", "nth", MEMBERS, Sticky(size=50)), Balancer("other", "hash", MEMBERS)),
    (Rule("rest", "all"),),
)


def visit(remote: int, flow: int) -> bytes:
    src, dst = ip_address("10.0.0.1"), ip_address(0x08000000 + remote)
    return render(Packet(src, dst, 17, flow, 53))


def written() -> bytes:
    engine = Engine(POLICY, 1)
    engine.classify_many([visit(remote, 1) for remote in range(5)], 0)
    return export_sticky(engine, 0)


SAVED = written()
FORM, HEADER, RECORDS = (*SAVED[:-4].split(b"\n", 2),)
assert len(RECORDS) == 5 * 24


def checked(content: bytes) -> bytes:
    return content + zlib.crc32(content).to_bytes(4)


def put_in_or_refused(data: bytes) -> bool:
    """Whatever it says, the engine goes on deciding."""
    engine = Engine(POLICY, 1)
    before = engine.counters()
    try:
        put = import_sticky(engine, data, 0)
    except UsageError as error:
        assert str(error).startswith("saved sticky entries: ")
        assert engine.counters() == before
        return False
    assert engine.counters().sticky_entries <= put
    decisions = engine.classify_many([visit(remote, 2) for remote in range(100)], 0)
    assert {d.uplink for d in decisions} <= {"a", "b"}
    return True


@given(st.binary(max_size=300))
@example(b"")
@example(SAVED[:3])
def test_any_bytes_are_refused(data):
    assert not put_in_or_refused(data)


@given(st.data())
def test_a_file_with_one_bit_changed_or_cut_is_refused(data):
    bit = data.draw(st.integers(0, 8 * len(SAVED) - 1))
    changed = bytearray(SAVED)
    changed[bit // 8] ^= 1 << bit % 8
    assert not put_in_or_refused(bytes(changed))
    assert not put_in_or_refused(SAVED[: bit // 8])
    assert put_in_or_refused(SAVED)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@settings(max_examples=300)
@given(st.data())
def test_a_header_of_any_content_is_put_in_or_refused(data):
    """With a checksum that is right, as a file of another program or version may have."""
    header = json.loads(HEADER)
    place = header
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()) or not place[key] or not isinstance(place[key], dict | list):
            place[key] = data.draw(values)
            break
        place = place[key]
    put_in_or_refused(checked(b"\n".join((FORM, json.dumps(header).encode(), RECORDS))))


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(b"1" * 5000)
def test_any_second_line_is_refused(line):
    assert not put_in_or_refused(checked(b"\n".join((FORM, line, RECORDS))))


@settings(max_examples=300)
@given(st.lists(st.tuples(*[st.integers(0, 2**64 - 1)] * 3), min_size=5, max_size=5))
def test_any_records_are_put_in_or_refused(records):
    packed = b"".join(struct.pack("=QQQ", *record) for record in records)
    put_in_or_refused(checked(b"\n".join((FORM, HEADER, packed))))


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2**63, 2**64 - 1]),
            st.integers(1, 2**42 - 1),
            st.sampled_from([1, 2, 0x101, 0x102, 0x202, 0x302]),
            st.sampled_from([0, 1, 2**64 - 1]),
        ),
        min_size=5,
        max_size=5,
    )
)
def test_sound_records_are_put_in_whatever_their_digests(records):
    """An entry that is there already stays, and one of an uplink without IPv6 is left out."""
    packed = b"".join(
        struct.pack("=QQQ", digest, left << 22 | tag, host) for digest, left, tag, host in records
    )
    engine = Engine(POLICY, 1)
    put = import_sticky(engine, checked(b"\n".join((FORM, HEADER, packed))), 0)
    assert put == len({digest for digest, _, tag, _ in records if tag != 0x101})
    assert engine.counters().sticky_entries <= put


@pytest.mark.parametrize("tag", [0, 3, 0xFF, 0x100, 0x400, 0x200000])
def test_a_record_of_an_unknown_uplink_or_with_bits_of_no_meaning_is_refused(tag):
    first = struct.pack("=QQQ", 1, 1000 << 22 | tag, 0)
    assert not put_in_or_refused(checked(b"\n".join((FORM, HEADER, first + RECORDS[24:]))))
