"""Packets as bytes, written by hand so that no parser is tested against itself."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from model import Packet

TCP, UDP, DCCP, SCTP, UDP_LITE = 6, 17, 33, 132, 136


def payload(packet: Packet) -> bytes:
    ports = struct.pack("!HH", packet.sport or 0, packet.dport or 0)
    if packet.protocol == TCP:
        return ports + struct.pack("!IIBBHHH", 1, 0, 5 << 4, 2, 512, 0, 0)
    if packet.protocol in (UDP, UDP_LITE):
        return ports + struct.pack("!HH", 8, 0)
    return ports + bytes(8)


def render(packet: Packet) -> bytes:
    """The packet from its IP header on."""
    data = payload(packet)
    if isinstance(packet.src, IPv4Address):
        head = struct.pack(
            "!BBHHHBBH", 0x45, packet.dscp << 2, 20 + len(data), 7, 0, 64, packet.protocol, 0
        )
    else:
        first = (6 << 28) | (packet.dscp << 22)
        head = struct.pack("!IHBB", first, len(data), packet.protocol, 64)
    return head + packet.src.packed + packet.dst.packed + data
