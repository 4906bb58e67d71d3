"""The first packets of flows, made by hand."""

from __future__ import annotations

import socket
import struct

from classifier.errors import LabError
from classifier.lab.flows import TCP, UDP, FiveTuple

_SYN = 0x02


def datagram(flow: FiveTuple, payload: bytes = b"") -> bytes:
    """A UDP packet of the flow, from the IP header on, with its checksums."""
    header = struct.pack("!HHHH", flow.sport, flow.dport, 8 + len(payload), 0)
    return _packet(flow, UDP, header, payload, 6)


def syn(flow: FiveTuple, sequence: int = 1000) -> bytes:
    """The first packet of a TCP connection, from the IP header on, with its checksums."""
    header = struct.pack(
        "!HHIIBBHHH", flow.sport, flow.dport, sequence, 0, 5 << 4, _SYN, 64240, 0, 0
    )
    return _packet(flow, TCP, header, b"", 16)


def _packet(
    flow: FiveTuple, protocol: int, header: bytes, payload: bytes, checksum_at: int
) -> bytes:
    if flow.src is None:
        raise LabError("a packet that is made by hand needs a source address")
    source = socket.inet_pton(flow.family, flow.src)
    remote = socket.inet_pton(flow.family, flow.dst)
    length = len(header) + len(payload)
    if flow.version == 4:
        pseudo = source + remote + struct.pack("!BBH", 0, protocol, length)
        plain = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, protocol, 0)
        ip = _with_checksum(plain + source + remote, 10, plain + source + remote)
    else:
        pseudo = source + remote + struct.pack("!IHBB", length, 0, 0, protocol)
        ip = struct.pack("!IHBB", 6 << 28, length, protocol, 64) + source + remote
    return ip + _with_checksum(header, checksum_at, pseudo + header + payload) + payload


def _with_checksum(header: bytes, at: int, covered: bytes) -> bytes:
    """The header with the internet checksum (RFC 1071) of `covered` written at offset `at`."""
    if len(covered) % 2:
        covered += b"\0"
    total = sum(struct.unpack(f"!{len(covered) // 2}H", covered))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:at] + struct.pack("!H", ~total & 0xFFFF or 0xFFFF) + header[at + 2 :]
