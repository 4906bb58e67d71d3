"""ICMP echo: RFC 792, RFC 4443.

A raw socket, because the kernel's ping sockets (SOCK_DGRAM) are allowed to nobody, root included,
unless net.ipv4.ping_group_range says otherwise.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct

from classifier.policy import Target
from classifier.uplinks.probes.binding import Binding, bound_socket, socket_family

_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_ECHO_REQUEST6, _ECHO_REPLY6 = 128, 129
_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
_TOKEN = 16
_LONGEST = 2048
_SOL_RAW, _ICMP_FILTER = 255, 1  # <linux/icmp.h>: one bit per type that is NOT let through
_ICMP6_FILTER = 1  # <linux/icmpv6.h>: the same, 256 bits


async def probe(target: Target, binding: Binding) -> None:
    """Returns when the target has sent an echo reply to this request.

    Each request has an identifier and 16 random bytes of its own, so neither a late reply to an
    earlier one nor a forged one counts.
    """
    loop = asyncio.get_running_loop()
    identifier, token = int.from_bytes(os.urandom(2)), os.urandom(_TOKEN)
    with _echo_socket(target.host, binding) as sock:
        # Only packets from the target itself are read, and unreachable errors become OSError.
        sock.connect((target.host, 0))
        sock.send(echo_request(sock.family, identifier, token))
        while True:
            packet = await loop.sock_recv(sock, _LONGEST)
            if is_reply(packet, sock.family, identifier, token):
                return


def echo_request(family: int, identifier: int, token: bytes) -> bytes:
    """An echo request with sequence number 1; the kernel fills in the checksum of IPv6."""
    if family == socket.AF_INET6:
        return _HEADER.pack(_ECHO_REQUEST6, 0, 0, identifier, 1) + token
    unsummed = _HEADER.pack(_ECHO_REQUEST, 0, 0, identifier, 1) + token
    return _HEADER.pack(_ECHO_REQUEST, 0, checksum(unsummed), identifier, 1) + token


def is_reply(packet: bytes, family: int, identifier: int, token: bytes) -> bool:
    """Whether a packet, as a raw socket delivers it, answers that request.

    An IPv4 packet has its IP header, an IPv6 packet has none, and its checksum is verified by the
    kernel.
    """
    if family == socket.AF_INET6:
        wanted, message = _ECHO_REPLY6, packet
    else:
        wanted, message = _ECHO_REPLY, packet[(packet[0] & 15) * 4 :] if packet else b""
        if checksum(message):
            return False
    if len(message) < _HEADER.size:
        return False
    kind, code, _, its_identifier, sequence = _HEADER.unpack_from(message)
    found = (kind, code, its_identifier, sequence, message[_HEADER.size :])
    return found == (wanted, 0, identifier, 1, token)


def checksum(message: bytes) -> int:
    """The Internet checksum, RFC 1071; 0 over a message that carries the right one."""
    padded = message + b"\0" * (len(message) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _echo_socket(host: str, binding: Binding) -> socket.socket:
    """A bound raw socket that receives echo replies only, not all ICMP of the interface."""
    if socket_family(host) == socket.AF_INET:
        sock = bound_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP, binding)
        unwanted = struct.pack("=I", 0xFFFFFFFF & ~(1 << _ECHO_REPLY))
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, unwanted)
        return sock
    sock = bound_socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6, binding)
    blocked = [0xFFFFFFFF] * 8
    blocked[_ECHO_REPLY6 // 32] &= ~(1 << _ECHO_REPLY6 % 32)
    sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *blocked))
    return sock
