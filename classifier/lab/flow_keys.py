"""The flow that a packet belongs to, read from its headers, as a key that is cheap to count by."""

from __future__ import annotations

import socket

from classifier.config.names import (
    IPV6_EXTENSION_HEADERS,
    IPV6_FRAGMENT,
    PORT_PROTOCOLS,
    PROTOCOL_NAMES,
)
from classifier.lab.flows import FiveTuple

_ICMP, _ICMP6, _IGMP = (PROTOCOL_NAMES[name] for name in ("icmp", "icmpv6", "igmp"))
_SKIPPED = IPV6_EXTENSION_HEADERS - {IPV6_FRAGMENT, PROTOCOL_NAMES["ah"]}
"""Headers that tell their length in units of 8 bytes."""


def flow_key(packet: bytes) -> bytes | None:
    """IP version, protocol, ports and addresses as one string; None for what is not counted."""
    if len(packet) < 20:
        return None
    version = packet[0] >> 4
    if version == 4:
        protocol = packet[9]
        if protocol == _IGMP or packet[16] & 0xF0 == 0xE0:
            return None
        later = (packet[6] & 0x1F) | packet[7]
        ports = b"" if later else _ports(packet, protocol, (packet[0] & 0x0F) * 4)
        addresses = packet[12:20]
    elif version == 6 and len(packet) >= 40:
        protocol, at = packet[6], 40
        while protocol in _SKIPPED and at + 8 <= len(packet):
            protocol, at = packet[at], at + 8 * (packet[at + 1] + 1)
        if packet[24] == 0xFF or (protocol == _ICMP6 and 130 <= _byte(packet, at) <= 137):
            return None
        ports = _ports(packet, protocol, at)
        addresses = packet[8:40]
    else:
        return None
    return bytes((version, protocol)) + (ports or b"\0\0\0\0") + addresses


def _ports(packet: bytes, protocol: int, at: int) -> bytes:
    if protocol in PORT_PROTOCOLS:
        return packet[at : at + 4]
    if protocol in (_ICMP, _ICMP6) and _byte(packet, at) in (0, 8, 128, 129):
        return packet[at + 4 : at + 6] + b"\0\0"
    return b""


def _byte(packet: bytes, at: int) -> int:
    return packet[at] if at < len(packet) else -1


def five_tuple(key: bytes) -> FiveTuple:
    """The flow that `flow_key` made the key of."""
    family = socket.AF_INET if key[0] == 4 else socket.AF_INET6
    addresses = key[6:]
    half = len(addresses) // 2
    return FiveTuple(
        key[1],
        socket.inet_ntop(family, addresses[:half]),
        int.from_bytes(key[2:4], "big"),
        socket.inet_ntop(family, addresses[half:]),
        int.from_bytes(key[4:6], "big"),
    )
