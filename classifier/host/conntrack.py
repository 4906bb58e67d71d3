"""Connections of the kernel, found and ended by their mark.

Requests, attributes and states are named as in <linux/netfilter/nfnetlink_conntrack.h>.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from classifier.errors import HostError
from classifier.host.netlink_dump import values
from classifier.host.state import ADDRESS_FAMILIES
from classifier.policy import Family
from classifier.queue.kernel_queues import NETLINK_NETFILTER

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_*
_REQUEST, _ACK, _DUMP = 1, 4, 0x300  # NLM_F_*
_ERROR_MESSAGE, _DONE = 2, 3  # NLMSG_*
_OF_A_FAMILY = 1
"""nfgen version from which on the kernel minds the family of a request to delete."""
_MARK, _MARK_MASK = 8, 21  # CTA_*
_TUPLE, _STATUS, _PROTOCOL_INFO, _ID, _ZONE = 1, 3, 4, 12, 18
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_NESTED = 1 << 15  # NLA_F_NESTED
_IP = {4: (1, 2), 6: (3, 4)}  # CTA_IP_V*_SRC, CTA_IP_V*_DST
_PROTOCOL_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_PROTOCOL_INFO_TCP, _TCP_STATE = 1, 1
_ESTABLISHED = 3  # TCP_CONNTRACK_ESTABLISHED
_SEEN_REPLY, _SOURCE_NAT, _DESTINATION_NAT = 1 << 1, 1 << 4, 1 << 5  # IPS_*
_HEADER = struct.Struct("=IHHII")
_NETFILTER_HEADER = struct.Struct("!BBH")  # family, version, resource id
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_BUFFER = 1 << 16


@dataclass(frozen=True, slots=True)
class TcpConnection:
    """An established connection as its client sees it; addresses are packed."""

    client: bytes
    client_port: int
    server: bytes
    server_port: int


class Connection:
    """One that the kernel told. What is asked of it is read then, since there may be many."""

    def __init__(self, family: Family, told: dict[int, bytes]) -> None:
        self.family = family
        self._told = told
        self._status = int.from_bytes(told.get(_STATUS, b""))

    @property
    def answered(self) -> bool:
        """Whether a packet has come back."""
        return bool(self._status & _SEEN_REPLY)

    @property
    def identity(self) -> bytes:
        """The attributes by which the kernel knows it."""
        return b"".join(
            _attribute(kind | (_NESTED if kind == _TUPLE else 0), self._told[kind])
            for kind in (_TUPLE, _ID, _ZONE)
            if kind in self._told
        )

    @property
    def masqueraded_tcp(self) -> TcpConnection | None:
        """If it is an established TCP connection whose source address is translated, and not its
        destination: one that a host behind this gateway began."""
        info = _values(self._told.get(_PROTOCOL_INFO, b""))
        state = _values(info.get(_PROTOCOL_INFO_TCP, b"")).get(_TCP_STATE)
        translated = self._status & (_SOURCE_NAT | _DESTINATION_NAT)
        if translated != _SOURCE_NAT or state != bytes([_ESTABLISHED]):
            return None
        way = _values(self._told[_TUPLE])
        addresses, ports = _values(way[_TUPLE_IP]), _values(way[_TUPLE_PROTOCOL])
        source, destination = _IP[self.family]
        return TcpConnection(
            client=addresses[source],
            client_port=int.from_bytes(ports[_SOURCE_PORT]),
            server=addresses[destination],
            server_port=int.from_bytes(ports[_DESTINATION_PORT]),
        )


def flush(mark: int, mask: int, family: Family | None = None) -> None:
    """End every connection that has `mark` under `mask`, and no other, in one request.

    Of the calling thread's network namespace. A request without a tuple means all connections; the
    kernel filters by the mark (net/netfilter/nf_conntrack_netlink.c, ctnetlink_flush_conntrack).
    Raises HostError.
    """
    with _netlink(f"connections of mark 0x{mark:x} cannot be ended") as netlink:
        _ask(netlink, _DELETE, _ACK, family, _of_mark(mark, mask))
        for _ in _messages(netlink.recv(_BUFFER)):
            return


def connections(mark: int, mask: int, family: Family, most: int) -> Iterator[Connection]:
    """Those that have `mark` under `mask`, as they are at the call.

    Only the first `most` that the kernel tells are looked at. Raises HostError.
    """
    found: list[bytes] = []
    with _netlink(f"connections of mark 0x{mark:x} cannot be listed") as netlink:
        _ask(netlink, _GET, _DUMP, family, _of_mark(mark, mask))
        done = False
        while not done and len(found) < most:
            told = list(_messages(netlink.recv(_BUFFER)))
            found += [body for kind, body in told if kind != _DONE]
            done = any(kind == _DONE for kind, _ in told)
    # Read one by one later, since that takes longer than the kernel's part.
    return (Connection(family, _told(body)) for body in found[:most])


def end_unanswered(some: Iterable[Connection]) -> None:
    """End those of these that have had no answer by now either. Raises HostError."""
    with _netlink("connections cannot be ended one by one") as netlink:
        for connection in some:
            try:
                _ask(netlink, _GET, 0, connection.family, connection.identity)
                _, body = next(_messages(netlink.recv(_BUFFER)))
                if not Connection(connection.family, _told(body)).answered:
                    _ask(netlink, _DELETE, _ACK, connection.family, connection.identity)
                    next(_messages(netlink.recv(_BUFFER)))
            except OSError as error:
                if error.errno != errno.ENOENT:  # it has ended by itself
                    raise


@contextmanager
def _netlink(failed: str) -> Iterator[socket.socket]:
    """A netlink socket to ask about connections; HostError that begins with `failed`."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
            netlink.settimeout(10.0)
            yield netlink
    except (OSError, struct.error) as failure:
        raise HostError(f"{failed}: {failure}") from failure


def _ask(
    netlink: socket.socket, request: int, flags: int, family: Family | None, attributes: bytes
) -> None:
    of_family = (ADDRESS_FAMILIES[family], _OF_A_FAMILY) if family else (0, 0)
    body = _NETFILTER_HEADER.pack(*of_family, 0) + attributes
    netlink.send(_HEADER.pack(_HEADER.size + len(body), request, _REQUEST | flags, 0, 0) + body)


def _of_mark(mark: int, mask: int) -> bytes:
    number = struct.Struct("!I")
    return _attribute(_MARK, number.pack(mark)) + _attribute(_MARK_MASK, number.pack(mask))


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _told(body: bytes) -> dict[int, bytes]:
    return values(body, _NETFILTER_HEADER.size)


def _values(attributes: bytes) -> dict[int, bytes]:
    return values(attributes, 0)


def _messages(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each netlink message; OSError for one that tells an error."""
    start = 0
    while start < len(packet):
        length, kind, *_ = _HEADER.unpack_from(packet, start)
        body = packet[start + _HEADER.size : start + length]
        if kind == _ERROR_MESSAGE and (error := -_ERROR.unpack_from(body)[0]):
            raise OSError(error, os.strerror(error))
        yield kind, body
        start += max(length + 3 & ~3, _HEADER.size)
