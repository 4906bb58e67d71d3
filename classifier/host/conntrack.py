"""Connections of the kernel, found and ended by their mark.

Requests, attributes and states are named as in <linux/netfilter/nfnetlink_conntrack.h>.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from classifier.errors import HostError
from classifier.host.state import ADDRESS_FAMILIES, Family
from classifier.queue.kernel_queues import NETLINK_NETFILTER

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_*
_REQUEST, _ACK, _DUMP = 1, 4, 0x300  # NLM_F_*
_ERROR_MESSAGE, _DONE = 2, 3  # NLMSG_*
_OF_A_FAMILY = 1
"""nfgen version from which on the kernel minds the family of a request to delete."""
_MARK, _MARK_MASK = 8, 21  # CTA_*
_TUPLE, _STATUS, _PROTOCOL_INFO = 1, 3, 4
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_IP = {4: (1, 2), 6: (3, 4)}  # CTA_IP_V*_SRC, CTA_IP_V*_DST
_PROTOCOL_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_PROTOCOL_INFO_TCP, _TCP_STATE = 1, 1
_ESTABLISHED = 3  # TCP_CONNTRACK_ESTABLISHED
_SOURCE_NAT, _DESTINATION_NAT = 1 << 4, 1 << 5  # IPS_*
_HEADER = struct.Struct("=IHHII")
_NETFILTER_HEADER = struct.Struct("!BBH")  # family, version, resource id
_ATTRIBUTE = struct.Struct("=HH")
_TYPE = 0x3FFF  # NLA_TYPE_MASK
_ERROR = struct.Struct("=i")
_BUFFER = 1 << 16


@dataclass(frozen=True, slots=True)
class TcpConnection:
    """An established connection as its client sees it; addresses are packed."""

    client: bytes
    client_port: int
    server: bytes
    server_port: int


def flush(mark: int, mask: int, family: Family | None = None) -> None:
    """End every connection that has `mark` under `mask`, and no other, in one request.

    Of the calling thread's network namespace. A request without a tuple means all connections; the
    kernel filters by the mark (net/netfilter/nf_conntrack_netlink.c, ctnetlink_flush_conntrack).
    Raises HostError.
    """
    with _asked(_DELETE, _ACK, mark, mask, family) as netlink:
        for _ in _messages(netlink.recv(_BUFFER)):
            return


def masqueraded(mark: int, mask: int, family: Family, most: int) -> Iterator[TcpConnection]:
    """Established TCP connections with `mark` under `mask` whose source address is translated, and
    not their destination: those that hosts behind this gateway began.

    They are as they were at the call, and only the first `most` connections that the kernel tells
    are looked at. Raises HostError.
    """
    found: list[bytes] = []
    with _asked(_GET, _DUMP, mark, mask, family) as netlink:
        done = False
        while not done and len(found) < most:
            told = list(_messages(netlink.recv(_BUFFER)))
            found += [body for kind, body in told if kind != _DONE]
            done = any(kind == _DONE for kind, _ in told)
    # Read one by one later, since that takes longer than the kernel's part.
    return (tcp for body in found[:most] if (tcp := _masqueraded_tcp(body, family)) is not None)


@contextmanager
def _asked(
    request: int, flags: int, mark: int, mask: int, family: Family | None
) -> Iterator[socket.socket]:
    """A netlink socket on which the answers to a request about connections of a mark come."""
    of_family = (ADDRESS_FAMILIES[family], _OF_A_FAMILY) if family else (0, 0)
    body = _NETFILTER_HEADER.pack(*of_family, 0) + _number(_MARK, mark) + _number(_MARK_MASK, mask)
    header = _HEADER.pack(_HEADER.size + len(body), request, _REQUEST | flags, 0, 0)
    what = "ended" if request == _DELETE else "listed"
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
            netlink.settimeout(10.0)
            netlink.send(header + body)
            yield netlink
    except (OSError, struct.error) as failure:
        raise HostError(f"connections of mark 0x{mark:x} cannot be {what}: {failure}") from failure


def _number(kind: int, value: int) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + 4, kind) + struct.pack("!I", value)


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


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    start = 0
    while start + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        found[kind & _TYPE] = data[start + _ATTRIBUTE.size : start + length]
        start += max(length + 3 & ~3, _ATTRIBUTE.size)
    return found


def _masqueraded_tcp(body: bytes, family: Family) -> TcpConnection | None:
    told = _attributes(body[_NETFILTER_HEADER.size :])
    status = int.from_bytes(told.get(_STATUS, b""))
    info = _attributes(told.get(_PROTOCOL_INFO, b""))
    state = _attributes(info.get(_PROTOCOL_INFO_TCP, b"")).get(_TCP_STATE)
    translated = status & (_SOURCE_NAT | _DESTINATION_NAT)
    if translated != _SOURCE_NAT or state != bytes([_ESTABLISHED]):
        return None
    way = _attributes(told[_TUPLE])
    addresses, ports = _attributes(way[_TUPLE_IP]), _attributes(way[_TUPLE_PROTOCOL])
    source, destination = _IP[family]
    return TcpConnection(
        client=addresses[source],
        client_port=int.from_bytes(ports[_SOURCE_PORT]),
        server=addresses[destination],
        server_port=int.from_bytes(ports[_DESTINATION_PORT]),
    )
