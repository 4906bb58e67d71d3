"""A capture that cannot be read further ends in an error that names packet and byte."""

from __future__ import annotations

import os
import re
import struct

import pytest
from capture_files import (
    RAW,
    Captured,
    block,
    enhanced,
    interface,
    ipv4,
    option,
    pcap,
    section,
    simple,
    udp,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from probes import packets_read, take

from classifier.errors import CaptureError
from classifier.replay import Replay
from classifier.replay.reader import CaptureReader

PACKETS = [ipv4("192.168.1.2", "198.51.100.7", 17, udp(1000, 53, b"x" * n)) for n in (0, 5, 11)]
MESSAGE = re.compile(r"^(?P<path>.*): packet (?P<packet>\d+), byte (?P<byte>\d+): (?P<reason>.+)$")


def read(path):
    """How many packets there are, and the error or None."""
    count = 0
    with CaptureReader(path) as reader:
        try:
            while taken := take(reader):
                count += len(taken)
        except CaptureError as error:
            found = MESSAGE.match(str(error))
            assert found, error
            assert found["path"] == path
            assert int(found["packet"]) == count + 1 == packets_read(reader) + 1
            return count, found
    return count, None


def pieces_of_pcap():
    frames = [Captured(number, packet) for number, packet in enumerate(PACKETS)]
    ends = [len(pcap(frames[:n], link=RAW)) for n in range(len(frames) + 1)]
    return pcap(frames, link=RAW), ends


def pieces_of_pcapng():
    parts = [section() + interface(RAW), *(enhanced(packet, 1) for packet in PACKETS)]
    ends = [sum(map(len, parts[: n + 1])) for n in range(len(parts))]
    return b"".join(parts), [0, len(section()), *ends]


@pytest.mark.parametrize("pieces", [pieces_of_pcap, pieces_of_pcapng])
def test_a_file_cut_at_any_byte_is_read_up_to_there(write, pieces):
    data, ends = pieces()
    for size in range(1, len(data)):
        count, error = read(write(data[:size]))
        if size in ends:
            assert error is None, size
        else:
            # The error is in what is there, and in the packet or block that the cut is in.
            assert error is not None, size
            assert max((e for e in ends if e <= size), default=0) <= int(error["byte"]) <= size
            assert "cut" in error["reason"] or size < 4
        assert count == sum(size >= end for end in ends[-len(PACKETS) :])


def test_an_empty_file_and_a_missing_one_and_a_folder_are_errors(write, tmp_path):
    for path, reason in (
        (write(b""), "packet 1, byte 0: the file is empty"),
        (str(tmp_path / "none"), "No such file or directory"),
        (str(tmp_path), "Is a directory"),
    ):
        with pytest.raises(CaptureError, match=f"^{re.escape(f'{path}: {reason}')}$"):
            take(CaptureReader(path))


@pytest.mark.parametrize("data", [b"GET / HTTP/1.0\r\n", b"\xfd7zXZ\0" + bytes(60)])
def test_what_is_no_capture_is_refused(write, data):
    _, error = read(write(data))
    assert "not a capture file" in error["reason"]


def test_an_absurd_length_is_named_where_it_stands(write):
    data, ends = pieces_of_pcap()
    broken = bytearray(data)
    struct.pack_into("<I", broken, ends[1] + 8, 0x7FFFFFFF)
    count, error = read(write(bytes(broken)))
    assert count == 1
    assert int(error["byte"]) == ends[1] + 8
    assert "2147483647" in error["reason"]


HEAD = section() + interface(RAW)


@pytest.mark.parametrize(
    ("bad", "place", "reason"),
    [
        (struct.pack("<II", 6, 8) + bytes(8), 4, "a block length of 8"),
        (struct.pack("<II", 6, 34) + bytes(64), 4, "a block length of 34"),
        (struct.pack("<II", 6, 1 << 20) + bytes(64), 4, "a block length of 1048576"),
        (enhanced(PACKETS[0], 1)[:-4] + b"\x01\x00\x00\x00", 60 - 4, "not the same"),
        (block(11, bytes(8))[:-4] + b"\x01\x00\x00\x00", 16, "not the same"),
        (enhanced(PACKETS[0], 1, number=7), 8, "interface 7 in a section that describes 1"),
        (block(6, struct.pack("<IIIII", 0, 0, 0, 5, 5) + b"1234"), 20, "captured length of 5"),
        (block(6, bytes(16)), 8, "too short"),
        (block(3, struct.pack("<I", 100) + b"1234"), 8, "captured length of 100"),
        (block(1, bytes(4)), 8, "too short"),
        (interface(RAW, options=struct.pack("<HH", 9, 60000)), 18, "an option runs past"),
        (section()[:8] + b"\x4d\x3c\x2b\x1b" + section()[12:], 8, "byte order"),
        (section()[:4] + struct.pack("<I", 16) + section()[8:], 4, "section header of 16"),
        (section()[:12] + b"\x02\x00" + section()[14:], 12, "version 2"),
    ],
)
def test_a_bad_block_is_named_where_it_stands(write, bad, place, reason):
    count, error = read(write(HEAD + enhanced(PACKETS[0], 1) + bad + bytes(32)))
    assert count == 1
    assert reason in error["reason"]
    assert int(error["byte"]) == len(HEAD) + len(enhanced(PACKETS[0], 1)) + place


def test_a_section_of_too_many_interfaces_is_refused(write):
    data = section() + interface(RAW) * 65537
    _, error = read(write(data))
    assert "65536 interfaces" in error["reason"]


def test_reading_on_after_an_error_gives_the_same_error(write):
    with CaptureReader(write(pieces_of_pcap()[0][:-3])) as reader:
        assert len(take(reader)) == 2
        for _ in range(2):
            with pytest.raises(CaptureError, match="packet 3, byte"):
                take(reader)


ANYTHING = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.just(section()),
            st.just(section(">")),
            st.builds(interface, st.sampled_from([0, 1, 12, 101, 113, 228, 276])),
            st.builds(interface, st.just(1), options=st.binary(max_size=30)),
            st.builds(enhanced, st.binary(max_size=120), st.integers(0, 2**64 - 1)),
            st.builds(simple, st.binary(max_size=80), st.integers(0, 100)),
            st.builds(block, st.integers(0, 12), st.binary(max_size=60)),
            st.builds(option, st.integers(0, 20), st.binary(max_size=9)),
        ),
        max_size=12,
    ).map(b"".join),
    st.builds(
        lambda head, rest: head + rest,
        st.sampled_from([pcap([], link=link) for link in (0, 1, 101, 113, 228, 276)]),
        st.lists(
            st.builds(
                lambda data, extra, time: (
                    struct.pack("<QII", time, len(data), len(data) + extra) + data
                ),
                st.binary(max_size=120),
                st.integers(0, 50),
                st.integers(0, 2**64 - 1),
            ),
            max_size=12,
        ).map(b"".join),
    ),
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=ANYTHING)
def test_any_bytes_are_read_to_their_end_or_to_an_error(policy, tmp_path, data):
    path = tmp_path / "any"
    path.write_bytes(data)
    count, _ = read(str(path))
    run = Replay(policy, seed=1)
    try:
        run.read(path)
    except CaptureError as error:
        assert MESSAGE.match(str(error))
    report = run.report()
    assert report.packets == count
    counted = [*report.uplinks.values(), report.direct, report.dropped, report.inbound]
    assert report.packets == (
        sum(use.packets for use in counted)
        + report.malformed + report.untracked + report.without_ip
    )  # fmt: skip
    assert len(report.decisions) == report.flows == len(list(report.decisions))


def test_a_pipe_that_ends_in_a_packet_is_an_error(policy):
    data, ends = pieces_of_pcap()
    reading, writing = os.pipe()
    try:
        os.write(writing, data[:-1])
        os.close(writing)
        run = Replay(policy, seed=1)
        path = f"/dev/fd/{reading}"
        with pytest.raises(CaptureError, match=f"{path}: packet 3, byte {ends[2] + 16}: .*cut"):
            run.read(path)
        assert run.report().packets == 2
    finally:
        os.close(reading)
