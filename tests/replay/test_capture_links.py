"""IP is found behind every link layer that is promised, and nowhere else."""

from __future__ import annotations

import struct

import pytest
from capture_files import (
    ETHERNET,
    Captured,
    enhanced,
    ethernet,
    interface,
    ipv4,
    ipv6,
    pcap,
    section,
    udp,
)
from probes import take

from classifier.errors import CaptureError
from classifier.replay.reader import CaptureReader

FOUR = ipv4("192.168.1.2", "198.51.100.7", 17, udp(1000, 53))
SIX = ipv6("2001:db8::2", "2001:db8:9::7", 17, udp(1000, 53))
MACS = bytes(12)


def only_packet(path):
    with CaptureReader(path) as reader:
        packets = take(reader)
        assert not take(reader)
    assert len(packets) == 1
    return packets[0][1]


def kind(packet):
    return 0x0800 if packet is FOUR else 0x86DD


def pppoe(packet):
    protocol = 0x0021 if packet is FOUR else 0x0057
    return struct.pack(">BBHHH", 0x11, 0, 7, len(packet) + 2, protocol) + packet


def sll(packet):
    return struct.pack(">HHH8sH", 0, 1, 6, bytes(8), kind(packet)) + packet


def sll2(packet):
    return struct.pack(">HHIHBB8s", kind(packet), 0, 3, 1, 0, 6, bytes(8)) + packet


def snap(packet):
    body = bytes.fromhex("aaaa03000000") + struct.pack(">H", kind(packet)) + packet
    return MACS + struct.pack(">H", len(body)) + body


def tagged(*types):
    tags = [struct.pack(">HH", tag, 42) for tag in types]
    return lambda packet: ethernet(packet, tags)


LAYERS = {
    "ethernet": (1, ethernet),
    "802.1Q": (1, tagged(0x8100)),
    "802.1ad": (1, tagged(0x88A8, 0x8100)),
    "old QinQ": (1, tagged(0x9100, 0x8100)),
    "many tags": (1, tagged(*[0x8100] * 30)),
    "PPPoE": (1, lambda p: MACS + b"\x88\x64" + pppoe(p)),
    "PPPoE in a VLAN": (1, lambda p: MACS + b"\x81\x00\x00\x07\x88\x64" + pppoe(p)),
    "MPLS": (1, lambda p: MACS + b"\x88\x47" + bytes.fromhex("0001000000020140") + p),
    "SNAP": (1, snap),
    "raw": (101, bytes),
    "raw of BSD": (12, bytes),
    "raw of OpenBSD": (14, bytes),
    "SLL": (113, sll),
    "SLL2": (276, sll2),
    "null, little-endian": (0, lambda p: struct.pack("<I", 2 if p is FOUR else 30) + p),
    "null, big-endian": (0, lambda p: struct.pack(">I", 2 if p is FOUR else 24) + p),
    "loop": (108, lambda p: struct.pack(">I", 2 if p is FOUR else 28) + p),
}


@pytest.mark.parametrize("packet", [FOUR, SIX], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("layer", LAYERS)
def test_ip_is_found_behind(write, layer, packet):
    link, wrap = LAYERS[layer]
    assert only_packet(write(pcap([Captured(0, wrap(packet))], link=link))) == packet
    path = write(section() + interface(link) + enhanced(wrap(packet), 1))
    assert only_packet(path) == packet


@pytest.mark.parametrize(("link", "packet"), [(228, FOUR), (229, SIX)])
def test_links_of_one_ip_version_are_read(write, link, packet):
    assert only_packet(write(pcap([Captured(0, packet)], link=link))) == packet


@pytest.mark.parametrize(
    "frame",
    [
        MACS + b"\x08\x06" + bytes(28),
        MACS + b"\x88\x63" + bytes(28),
        MACS + b"\x88\x64" + b"\x11\x00\x00\x07\x00\x06\xc0\x21" + bytes(4),
        MACS + b"\x88\x64" + b"\x11\x09\x00\x07\x00\x06\x00\x21" + bytes(4),
        MACS + b"\x81\x00\x00\x07\x08\x06" + bytes(28),
        MACS + b"\x88\x47" + bytes(40),
        MACS + b"\x88\x47" + bytes.fromhex("00000100") + b"\x30" + bytes(10),
        MACS + b"\x00\x26" + b"\x42\x42\x03" + bytes(35),
        MACS + b"\x08",
        MACS + b"\x81\x00\x00",
        b"",
    ],
)
def test_frames_without_ip_are_packets_but_not_ip(write, frame):
    assert only_packet(write(pcap([Captured(0, frame)], link=ETHERNET))) is None


@pytest.mark.parametrize("layer", LAYERS)
def test_a_frame_cut_anywhere_in_its_link_header_does_no_harm(write, layer):
    link, wrap = LAYERS[layer]
    whole = wrap(FOUR)
    header = len(whole) - len(FOUR)
    path = write(pcap([Captured(0, whole[:n]) for n in range(header)], link=link))
    with CaptureReader(path) as reader:
        packets = []
        while taken := take(reader):
            packets += taken
    assert len(packets) == header
    assert {data for _, data, _ in packets} <= {None, b""}


@pytest.mark.parametrize(("link", "name"), [(105, "105 \\(IEEE802_11\\)"), (9999, "9999")])
def test_other_link_types_are_refused_by_name(write, link, name):
    with pytest.raises(CaptureError, match=f"packet 1, byte 20: link type {name}"):
        only_packet(write(pcap([Captured(0, FOUR)], link=link)))
    data = section() + interface(link)
    with pytest.raises(CaptureError, match=f"packet 1, byte {len(data) + 8}: link type {name}"):
        only_packet(write(data + enhanced(FOUR, 1)))
