"""Capture files as pcapng blocks, for those who write them again.

The replay's own reader has been over the files before and has refused what makes no sense; this one
only has to find where blocks begin, and what was read as a packet there. Source:
draft-ietf-opsawg-pcapng, and draft-ietf-opsawg-pcap with the variants that pcap.pyx reads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO, Literal

Order = Literal["<", ">"]

SECTION, INTERFACE, OLD_PACKET, SIMPLE_PACKET, ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 6
OPT_END, OPT_COMMENT, SHB_USERAPPL, IF_TSRESOL, IF_TSOFFSET = 0, 1, 4, 9, 14
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_MICROSECONDS, _NANOSECONDS, _LONG_RECORDS = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
_LENGTH_UNKNOWN = b"\xff" * 8
_PIECE = 1 << 20


class ShortCaptureError(Exception):
    """The file ends within a block, or is none that can be read."""


@dataclass(frozen=True, slots=True)
class Interface:
    """How an interface of a section counts time."""

    ticks: Fraction = Fraction(10**6)
    """Per second."""
    offset: int = 0
    """Seconds to add."""


@dataclass(frozen=True, slots=True)
class PacketBlock:
    """A block that holds a packet, of any of the three kinds."""

    order: Order
    kind: int
    body: bytes
    interface: Interface
    """Of packets that name none: the first of the section."""

    def encoded(self) -> bytes:
        return block(self.order, self.kind, self.body)

    def commented(self, text: str, time: float) -> bytes:
        """The block with a comment more. `time`, in seconds since 1970, is used where the block has
        none: a simple packet block has no room for a comment, and becomes an enhanced one."""
        kind, body = self.kind, self.body
        if kind == SIMPLE_PACKET:
            kind, body = ENHANCED_PACKET, self._enhanced(time)
        (captured,) = struct.unpack_from(f"{self.order}I", body, 12)
        end = 20 + captured + -captured % 4
        options = body[end:] if len(body) - end >= 4 else option(self.order, OPT_END, b"")
        note = option(self.order, OPT_COMMENT, _cut(text.encode()))
        return block(self.order, kind, body[:end] + note + options)

    def _enhanced(self, time: float) -> bytes:
        (length,) = struct.unpack_from(f"{self.order}I", self.body)
        ticks = max(0, round((Fraction(time) - self.interface.offset) * self.interface.ticks))
        data = self.body[4 : 4 + length]
        head = struct.pack(
            f"{self.order}5I", 0, ticks >> 32 & 0xFFFFFFFF, ticks & 0xFFFFFFFF, len(data), length
        )
        return head + data + bytes(-len(data) % 4)


def block(order: Order, kind: int, body: bytes) -> bytes:
    length = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + length + body + length


def option(order: Order, code: int, value: bytes) -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def blocks(file: BinaryIO) -> Iterator[bytes | PacketBlock]:
    """The blocks of a capture: packets, and the bytes of everything between them as they are.

    A pcap file has a section and an interface made for it. Raises ShortCaptureError.
    """
    head = _read(file, 4)
    if int.from_bytes(head, "little") == SECTION:
        return _pcapng(file, head)
    return _pcap(file, head)


def _pcap(file: BinaryIO, magic: bytes) -> Iterator[bytes | PacketBlock]:
    known = (_MICROSECONDS, _NANOSECONDS, _LONG_RECORDS)
    order: Order = "<" if int.from_bytes(magic, "little") in known else ">"
    nanoseconds = struct.unpack(f"{order}I", magic)[0] == _NANOSECONDS
    long_records = struct.unpack(f"{order}I", magic)[0] == _LONG_RECORDS
    major, minor, _, _, snaplen, link = struct.unpack(f"{order}HHiIII", _read(file, 20))
    original_first, either_first = major == 543 or minor < 3, minor == 3
    # In this machine's usual order: nothing of the file's own is kept but bytes of packets.
    yield section("<")
    yield interface("<", link & 0xFFFF, snaplen, 9 if nanoseconds else 6)
    while record := file.read(16):
        record += _read(file, 16 - len(record))
        seconds, fraction, captured, original = struct.unpack(f"{order}4I", record)
        if original_first or (either_first and captured > original):
            captured, original = original, captured
        if long_records:
            _read(file, 8)
        data = _read(file, captured)
        ticks = seconds * 10 ** (9 if nanoseconds else 6) + fraction
        body = struct.pack("<5I", 0, ticks >> 32, ticks & 0xFFFFFFFF, captured, original)
        body += data + bytes(-captured % 4)
        yield PacketBlock("<", ENHANCED_PACKET, body, Interface())


def section(order: Order) -> bytes:
    head = struct.pack(f"{order}IHH", _BYTE_ORDER_MAGIC, 1, 0) + _LENGTH_UNKNOWN
    writer = option(order, SHB_USERAPPL, b"nfq-classifier")
    return block(order, SECTION, head + writer + option(order, OPT_END, b""))


def interface(order: Order, link: int, snaplen: int, resolution: int) -> bytes:
    """`resolution`: a tick is 10 to the power of minus this many seconds."""
    options = option(order, IF_TSRESOL, bytes([resolution])) + option(order, OPT_END, b"")
    return block(order, INTERFACE, struct.pack(f"{order}HHI", link, 0, snaplen) + options)


def _pcapng(file: BinaryIO, head: bytes) -> Iterator[bytes | PacketBlock]:
    order: Order = "<"
    first = Interface()
    described = False
    while head:
        head += _read(file, 8 - len(head))
        if int.from_bytes(head[:4], "little") == SECTION:
            magic = _read(file, 4)
            order = "<" if int.from_bytes(magic, "little") == _BYTE_ORDER_MAGIC else ">"
            described = False
            version, _ = _read(file, 4), _read(file, 8)
            # The section grows by its comments.
            yield head + magic + version + _LENGTH_UNKNOWN
            yield from _pieces(file, struct.unpack(f"{order}I", head[4:])[0] - 24)
        else:
            kind, length = struct.unpack(f"{order}II", head)
            if kind in (OLD_PACKET, SIMPLE_PACKET, ENHANCED_PACKET):
                yield PacketBlock(order, kind, _read(file, length - 12), first)
                _read(file, 4)
            elif kind == INTERFACE and not described:
                body = _read(file, length - 12)
                described, first = True, _described(order, body)
                yield head + body + _read(file, 4)
            else:
                yield head
                yield from _pieces(file, length - 8)
        head = file.read(8)


def _described(order: Order, body: bytes) -> Interface:
    """What the body of an interface description says about its ticks."""
    ticks, offset, at = Fraction(10**6), 0, 8
    while at + 4 <= len(body):
        code, length = struct.unpack_from(f"{order}HH", body, at)
        value = body[at + 4 : at + 4 + length]
        if code == OPT_END:
            break
        if code == IF_TSRESOL and value:
            ticks = Fraction((2 if value[0] & 0x80 else 10) ** (value[0] & 0x7F))
        elif code == IF_TSOFFSET and len(value) >= 8:
            (offset,) = struct.unpack_from(f"{order}q", value)
        at += 4 + length + -length % 4
    return Interface(ticks, offset)


def _cut(text: bytes) -> bytes:
    """As much of it as an option has room for, without half a letter at the end."""
    return text[:65535].decode(errors="ignore").encode()


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0:
        piece = _read(file, min(size, _PIECE))
        yield piece
        size -= len(piece)


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size) if size > 0 else b""
    if len(data) < size:
        raise ShortCaptureError
    return data
