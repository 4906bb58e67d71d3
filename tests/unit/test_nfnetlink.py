"""The messages of a queue: whatever bytes come, nothing beyond them is read."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from probes import message_read, verdict_written

PACKET = 3 << 8
HEADER, MARK, INDEV, PAYLOAD, CAP_LEN, UID, GID = 1, 3, 5, 10, 13, 16, 17
ERROR, OVERRUN = 2, 4


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(*attributes: bytes, kind: int = PACKET, length: int | None = None) -> bytes:
    body = struct.pack(">BBH", 2, 0, 7) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body) if length is None else length, kind, 0, 0, 0) + body


def header(packet_id: int) -> bytes:
    return attribute(HEADER, struct.pack(">IHB", packet_id, 0x0800, 0))


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))


WHOLE = message(
    header(0x01020304),
    number(INDEV, 12),
    number(MARK, 0xAABB3E01),
    number(UID, 1000),
    number(GID, 100),
    number(CAP_LEN, 1500),
    attribute(PAYLOAD, b"E" * 127),
)
WHOLE_FIELDS = {
    "id": 0x01020304,
    "mark": 0xAABB3E01,
    "interface_index": 12,
    "uid": 1000,
    "payload": b"E" * 127,
    "broken": False,
}


def test_packet_is_read_with_all_that_rules_and_mark_need() -> None:
    assert message_read(WHOLE) == ("packet", WHOLE_FIELDS)


def test_own_flow_without_mark_interface_and_user_is_read() -> None:
    kind, fields = message_read(message(header(1), attribute(PAYLOAD, b"E")))
    assert kind == "packet"
    assert (fields["mark"], fields["interface_index"], fields["uid"]) == (0, 0, -1)


def test_user_id_above_2_to_31_is_not_taken_for_unknown() -> None:
    _, fields = message_read(message(header(1), number(UID, 0xFFFFFFFE)))
    assert fields["uid"] == 0xFFFFFFFE


def test_flag_bits_in_an_attribute_type_do_not_hide_the_attribute() -> None:
    kind, fields = message_read(message(header(1), number(MARK | 0x4000, 5)))
    assert (kind, fields["mark"]) == ("packet", 5)


def test_attributes_of_a_newer_kernel_are_stepped_over() -> None:
    _, fields = message_read(message(attribute(99, b"new"), header(9), number(MARK, 5)))
    assert (fields["id"], fields["mark"], fields["broken"]) == (9, 5, False)


def test_last_attribute_may_lack_its_padding() -> None:
    padded = message(header(1), attribute(PAYLOAD, b"EFG"))
    unpadded = struct.pack("=I", len(padded) - 1) + padded[4:-1]
    assert message_read(unpadded)[1]["payload"] == b"EFG"


def test_packet_without_payload_can_still_be_answered() -> None:
    assert message_read(message(header(5), number(MARK, 1)))[1]["payload"] == b""


@given(st.integers(min_value=0, max_value=len(WHOLE) - 1))
def test_message_cut_short_is_answered_when_its_id_was_read_and_never_believed(cut: int) -> None:
    kind, fields = message_read(WHOLE[:cut])
    # 20 bytes of headers, then 4 and 7 of the attribute that has the id.
    if cut < 31:
        assert kind == "unreadable"
    else:
        assert kind == "packet"
        assert fields["id"] == 0x01020304
        assert fields["broken"]
        assert fields["payload"] == b""


@given(st.integers(min_value=0, max_value=0xFFFF), st.sampled_from([HEADER, MARK, UID, PAYLOAD]))
def test_length_that_lies_breaks_the_message_not_the_reader(length: int, kind: int) -> None:
    lying = struct.pack("=HH", length, kind) + bytes(8)
    read, fields = message_read(message(header(1), lying))
    assert read == "packet"
    if length < 4 or length > 12:
        assert fields["broken"]


def test_errors_of_the_kernel_are_told_from_packets() -> None:
    late = message(kind=ERROR)[:16] + struct.pack("=i", -2)
    assert message_read(struct.pack("=I", 20) + late[4:]) == ("error", 2)
    # The one number whose negative does not exist.
    odd = struct.pack("=I", 20) + late[4:16] + struct.pack("=i", -(2**31))
    assert message_read(odd) == ("error", -(2**31))
    assert message_read(message(kind=OVERRUN)) == ("overrun", None)
    assert message_read(message(kind=PACKET + 1)) == ("unreadable", None)
    assert message_read(b"") == ("unreadable", None)


@given(st.binary(max_size=700))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    kind, fields = message_read(data)
    assert kind in ("packet", "error", "overrun", "unreadable")
    if kind == "packet":
        assert fields["payload"] in data


@given(
    st.lists(
        st.builds(
            attribute, st.integers(min_value=0, max_value=0xFFFF), st.binary(max_size=140)
        ),
        max_size=12,
    )
)  # fmt: skip
def test_any_attributes_are_read_or_refused(attributes: list[bytes]) -> None:
    data = message(*attributes)
    kind, fields = message_read(data)
    assert kind in ("packet", "unreadable")
    if kind == "packet":
        assert fields["payload"] in data


def test_verdicts_are_written_as_the_kernel_header_says() -> None:
    common = struct.pack("=IHHII", 40, 3 << 8 | 1, 1, 0, 0) + struct.pack(">BBH", 0, 0, 300)
    accept = attribute(2, struct.pack(">II", 1, 0x01020304))
    assert verdict_written(300, 0x01020304, True, 0x80000100) == (
        common + accept + number(MARK, 0x80000100)
    )
    drop = attribute(2, struct.pack(">II", 0, 7))
    assert verdict_written(300, 7, False) == struct.pack("=I", 32) + common[4:] + drop
    row = verdict_written(300, 0x01020304, True, 0x80000100, all_up_to=True)
    assert row == common[:4] + struct.pack("=H", 3 << 8 | 3) + common[6:] + accept + number(
        MARK, 0x80000100
    )
