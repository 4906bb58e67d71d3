"""Lists of the kernel as they come, in bytes: links, addresses, routes, chains.

They may be long, and every look at the host goes through them: a router knows 20,000 routes, a
container host has a thousand links and ten thousand chains. pyroute2 decodes each attribute of each
message, 80 us for a route and 500 us for a link; here only what is asked for is decoded. Offsets
are those of <linux/netlink.h>, <linux/rtnetlink.h> and <linux/netfilter/nfnetlink.h>.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from classifier.errors import HostError

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
HEADER_BYTES = _HEADER.size
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length with this header, type
_NUMBER = struct.Struct("=I")
_ERROR, _DONE = 2, 3  # NLMSG_*
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR
_TYPE_BITS = 0x3FFF  # NLA_TYPE_MASK
_LARGEST_ANSWER = 1 << 18
"""Bytes; the kernel puts 32 KiB of messages into one answer, or one message that is larger."""
_TRIES = 10
_SECONDS = 30.0


def dump(kind: int, request: bytes, protocol: int = socket.NETLINK_ROUTE) -> list[bytes]:
    """Every message of the answer to the request of type `kind` (RTM_GET*), with its nlmsghdr.

    Of the calling thread's network namespace. request: what follows the nlmsghdr. None where the
    kernel has no such family. What changed while it was told is asked for again.
    Raises HostError.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as netlink:
            netlink.settimeout(_SECONDS)
            for number in range(1, _TRIES + 1):
                length = HEADER_BYTES + len(request)
                netlink.send(_HEADER.pack(length, kind, _REQUEST_DUMP, number, 0) + request)
                messages, whole = _answer(netlink, number)
                if whole:
                    return messages
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
            return []
        raise HostError(f"netlink request {kind}: {error.strerror or error}") from error
    raise HostError(f"netlink request {kind}: the list changes faster than it can be read")


def _answer(netlink: socket.socket, number: int) -> tuple[list[bytes], bool]:
    """The messages, and whether nothing changed while they were told."""
    messages: list[bytes] = []
    whole = True
    while True:
        answer = netlink.recv(_LARGEST_ANSWER)
        place = 0
        while place + HEADER_BYTES <= len(answer):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(answer, place)
            message = answer[place : place + length]
            if length < HEADER_BYTES or len(message) < length:
                raise OSError(errno.EBADMSG, "an answer that was cut off")
            place += length + 3 & ~3
            if sequence != number:
                continue
            if flags & _INTERRUPTED:
                whole = False
            if kind in (_DONE, _ERROR):
                # A dump that ends well may say so with a code, or without one (old kernels).
                code = -struct.unpack_from("=i", message, HEADER_BYTES)[0] if length >= 20 else 0
                if code:
                    raise OSError(code, os.strerror(code))
                return messages, whole
            messages.append(message)


def attributes(
    message: bytes, start: int, end: int | None = None
) -> Iterator[tuple[int, int, int]]:
    """Type of each attribute from `start` on, and where its value begins and ends."""
    limit = len(message) if end is None else end
    while start + 4 <= limit:
        length, kind = _ATTRIBUTE.unpack_from(message, start)
        if length < 4 or start + length > limit:
            return
        yield kind & _TYPE_BITS, start + 4, start + length
        start += length + 3 & ~3


def values(message: bytes, start: int, end: int | None = None) -> dict[int, bytes]:
    """Type of each attribute to its value."""
    return {kind: message[a:b] for kind, a, b in attributes(message, start, end)}


def number(value: bytes) -> int:
    """An attribute of four bytes, unsigned."""
    return int(_NUMBER.unpack(value)[0])
