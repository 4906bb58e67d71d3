"""Every capture format that is promised is read: packets, times and lengths."""

from __future__ import annotations

import struct

import pytest
from capture_files import (
    LONG_RECORDS,
    MICROSECONDS,
    NANOSECONDS,
    ORDERS,
    RAW,
    Captured,
    block,
    enhanced,
    ethernet,
    interface,
    ipv4,
    old_packet,
    option,
    pcap,
    section,
    simple,
    udp,
)
from probes import packets_read, take
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgWriter, PcapWriter, RawPcapNgReader, RawPcapReader

from classifier.errors import CaptureError
from classifier.replay.reader import CaptureReader


def read(path):
    with CaptureReader(path) as reader:
        packets = []
        while taken := take(reader):
            packets += taken
        assert packets_read(reader) == len(packets)
    return packets


def packet(number):
    return ipv4("192.168.1.2", "198.51.100.7", 17, udp(1000 + number, 53, b"x" * number))


TIMES = [1_700_000_000_123_456_000, 1_700_000_000_999_999_000, 1_700_000_001_000_000_000]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("magic", [MICROSECONDS, NANOSECONDS, LONG_RECORDS])
def test_pcap_of_either_byte_order_and_each_record_form_is_read(write, order, magic):
    frames = [Captured(time, ethernet(packet(i))) for i, time in enumerate(TIMES)]
    path = write(pcap(frames, order=order, magic=magic))
    assert read(path) == [(t, packet(i), 28 + i) for i, t in enumerate(TIMES)]


def test_nanoseconds_are_not_cut_to_microseconds(write):
    frames = [Captured(1_700_000_000_000_000_001, packet(1))]
    assert read(write(pcap(frames, magic=NANOSECONDS, link=RAW)))[0][0] % 1000 == 1


@pytest.mark.parametrize("version", [(2, 2), (543, 0)])
def test_old_pcap_files_with_swapped_lengths_are_read(write, version):
    data = struct.pack("<IHHiIII", MICROSECONDS, *version, 0, 0, 65535, RAW)
    whole = packet(9)
    data += struct.pack("<IIII", 5, 0, len(whole) + 100, len(whole)) + whole
    assert read(write(data)) == [(5_000_000_000, whole, len(whole) + 100)]


@pytest.mark.parametrize(("first", "second"), [(37, 137), (137, 37)])
def test_version_2_3_has_its_lengths_in_either_order(write, first, second):
    data = struct.pack("<IHHiIII", MICROSECONDS, 2, 3, 0, 0, 65535, RAW)
    data += struct.pack("<IIII", 5, 0, first, second) + packet(9)
    assert read(write(data)) == [(5_000_000_000, packet(9), 137)]


@pytest.mark.parametrize("order", ORDERS)
def test_pcapng_of_either_byte_order_is_read_with_every_kind_of_packet_block(write, order):
    ticks = 1_700_000_000_123_456
    path = write(
        section(order)
        + interface(order=order, snaplen=60)
        + block(5, bytes(20), order)
        + enhanced(ethernet(packet(1)), ticks, order, length=90)
        + old_packet(ethernet(packet(2)), ticks + 1, order)
        + simple(ethernet(packet(40))[:60], 82, order)
        + block(0x40000BAD, b"someone's own", order)
        + enhanced(ethernet(packet(3)), ticks + 2, order)
    )
    times = [ticks * 1000 + offset for offset in (0, 1000, 1000, 2000)]
    assert read(path) == [
        (times[0], packet(1), 90 - 14),
        (times[1], packet(2), 30),
        (times[2], packet(40)[:46], 68),
        (times[3], packet(3), 31),
    ]


def test_sections_may_differ_in_byte_order_and_begin_with_no_interfaces(write):
    parts = []
    for order in (*ORDERS, *ORDERS):
        parts += [section(order), interface(RAW, order), enhanced(packet(4), 10**15, order)]
    assert len(read(write(b"".join(parts)))) == 4
    with pytest.raises(CaptureError, match="interface 0 in a section that describes 0"):
        read(write(b"".join(parts) + section() + enhanced(packet(4), 10**15)))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("resolution", "ticks", "nanoseconds"),
    [
        (0, 5, 5 * 10**9),
        (3, 1_700_000_000_123, 1_700_000_000_123_000_000),
        (6, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (9, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        (12, 5_123_456_789_999, 5_123_456_789),
        (19, 12_345_678_901_234_567_890, 1_234_567_890),
        (40, 2**63, 0),
        (0x80, 7, 7 * 10**9),
        (0x80 | 10, 1536, 1_500_000_000),
        (0x80 | 32, 3 << 31, 1_500_000_000),
        (0x80 | 127, 2**63, 0),
    ],
)
def test_timestamps_of_every_resolution_come_out_in_nanoseconds(
    write, order, resolution, ticks, nanoseconds
):
    options = option(9, bytes([resolution]), order) + option(0, b"", order)
    path = write(
        section(order) + interface(RAW, order, options=options) + enhanced(packet(1), ticks, order)
    )
    assert read(path)[0][0] == nanoseconds


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("offset", [1_700_000_000, -5, 0])
def test_a_timestamp_offset_is_added(write, order, offset):
    options = option(14, struct.pack(order + "q", offset), order)
    path = write(
        section(order) + interface(RAW, order, options=options) + enhanced(packet(1), 250, order)
    )
    assert read(path)[0][0] == offset * 10**9 + 250_000


def test_a_timestamp_past_what_64_bits_hold_stays_the_last_there_is(write):
    path = write(section() + interface(RAW) + enhanced(packet(1), 2**64 - 1))
    assert read(path)[0][0] == 2**63 - 1


def test_interfaces_of_one_section_have_their_own_link_type_and_clock(write):
    path = write(
        section()
        + interface(RAW)
        + interface(1, options=option(9, b"\x09"))
        + interface(105)
        + enhanced(ethernet(packet(1)), 77, number=1)
        + enhanced(packet(2), 77)
    )
    assert read(path) == [(77, packet(1), 29), (77_000, packet(2), 30)]


def test_blocks_longer_than_the_buffer_are_passed_over(write):
    path = write(
        section(options=option(4, b"a" * 60000) * 20)
        + interface(RAW)
        + block(4, bytes(3_000_000))
        + enhanced(packet(1), 1)
    )
    assert [p for _, p, _ in read(path)] == [packet(1)]


def test_a_packet_of_the_greatest_length_is_read_whole(write):
    big = packet(1) + bytes(262144 - len(packet(1)))
    path = write(pcap([Captured(0, big), Captured(1000, packet(2)), Captured(2000, big)], link=RAW))
    assert [p for _, p, _ in read(path)] == [big, packet(2), big]


@pytest.mark.parametrize("nano", [False, True])
def test_what_scapy_writes_is_read_as_scapy_reads_it(tmp_path, nano):
    path = str(tmp_path / "scapy.pcap")
    with PcapWriter(path, nano=nano, endianness=">") as writer:
        for number in range(200):
            frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(dst="192.0.2.9")
            frame /= UDP(sport=1000 + number) / (b"z" * number)
            frame.time = 1_700_000_000 + number
            writer.write(frame)
    with RawPcapReader(path) as reader:
        tick = 1 if nano else 1000
        expected = [
            (meta.sec * 10**9 + meta.usec * tick, data[14:], meta.wirelen - 14)
            for data, meta in reader
        ]
    assert read(path) == expected


def test_what_scapy_writes_as_pcapng_is_read_as_scapy_reads_it(tmp_path):
    path = str(tmp_path / "scapy.pcapng")
    writer = PcapNgWriter(path)
    for number in range(200):
        frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(dst="192.0.2.9")
        frame /= UDP(sport=1000 + number) / (b"z" * number)
        frame.time = 1_700_000_000 + number
        writer.write(frame)
    writer.close()
    with RawPcapNgReader(path) as reader:
        expected = [
            (((m.tshigh << 32) | m.tslow) * 10**9 // m.tsresol, data[14:], m.wirelen - 14)
            for data, m in reader
        ]
    assert read(path) == expected
