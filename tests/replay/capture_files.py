"""Capture files and packets made byte by byte, so that every format has one that is known."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Order = Literal["<", ">"]
ORDERS: tuple[Order, ...] = ("<", ">")

MICROSECONDS, NANOSECONDS, LONG_RECORDS = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
ETHERNET, RAW = 1, 101

SYN, SYN_ACK, ACK, FIN_ACK, RST, RST_ACK = 0x02, 0x12, 0x10, 0x11, 0x04, 0x14


@dataclass(frozen=True)
class Captured:
    """One frame: nanoseconds since 1970, its bytes, and its length on the wire if it was cut."""

    time: int
    data: bytes
    length: int | None = None

    @property
    def wire(self) -> int:
        return len(self.data) if self.length is None else self.length


def pcap(
    frames: Iterable[Captured],
    *,
    order: Order = "<",
    magic: int = MICROSECONDS,
    link: int = ETHERNET,
    version: tuple[int, int] = (2, 4),
) -> bytes:
    out = [struct.pack(order + "IHHiIII", magic, *version, 0, 0, 262144, link)]
    tick = 1 if magic == NANOSECONDS else 1000
    for frame in frames:
        seconds, rest = divmod(frame.time, 10**9)
        head = struct.pack(order + "IIII", seconds, rest // tick, len(frame.data), frame.wire)
        if magic == LONG_RECORDS:
            head += struct.pack(order + "IHBx", 3, 0x0800, 0)
        out.append(head + frame.data)
    return b"".join(out)


def block(kind: int, body: bytes, order: Order = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def option(code: int, value: bytes, order: Order = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: Order = "<", options: bytes = b"") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + options, order)


def interface(
    link: int = ETHERNET, order: Order = "<", *, snaplen: int = 0, options: bytes = b""
) -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snaplen) + options, order)


def enhanced(
    frame: bytes, ticks: int, order: Order = "<", *, number: int = 0, length: int | None = None
) -> bytes:
    head = struct.pack(
        order + "IIIII",
        number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame),
        len(frame) if length is None else length,
    )  # fmt: skip
    return block(6, head + frame, order)


def old_packet(frame: bytes, ticks: int, order: Order = "<", *, number: int = 0) -> bytes:
    head = struct.pack(
        order + "HHIIII", number, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame)
    )
    return block(2, head + frame, order)


def simple(frame: bytes, length: int, order: Order = "<") -> bytes:
    return block(3, struct.pack(order + "I", length) + frame, order)


def ipv4(
    src: str, dst: str, protocol: int, body: bytes, *, identity: int = 0, fragment: int = 0
) -> bytes:
    """`fragment` is the whole field: flags, and offset in units of 8 bytes."""
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), identity, fragment, 64, protocol, 0)
    return head + socket.inet_aton(src) + socket.inet_aton(dst) + body


def ipv6(src: str, dst: str, protocol: int, body: bytes) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, src) + socket.inet_pton(socket.AF_INET6, dst)
    return struct.pack(">IHBB", 0x60000000, len(body), protocol, 64) + addresses + body


def udp(sport: int, dport: int, body: bytes = b"") -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(body), 0) + body


def tcp(
    sport: int, dport: int, flags: int, body: bytes = b"", *, seq: int = 1, ack: int = 1
) -> bytes:
    return struct.pack(">HHIIBBHHH", sport, dport, seq, ack, 0x50, flags, 64240, 0, 0) + body


def icmp(kind: int, code: int, rest: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBHI", kind, code, 0, rest) + body


def echo(kind: int, identity: int) -> bytes:
    return icmp(kind, 0, identity << 16 | 1, b"ping")


def ethernet(packet: bytes, tags: Sequence[bytes] = ()) -> bytes:
    """An Ethernet frame; `tags` stand between the addresses and the EtherType."""
    kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
    return bytes.fromhex("020000000001020000000002") + b"".join(tags) + kind + packet


SECOND = 10**9
START = 1_700_000_000 * SECOND


def at(seconds: float, packet: bytes) -> Captured:
    """A raw IP packet, `seconds` after the start of the capture."""
    return Captured(START + round(seconds * SECOND), packet)
