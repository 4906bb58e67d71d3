"""Routing rules, and the routes that a plan looks at, told from all others by their first bytes.

A router that speaks BGP has tens of thousands of others. Of a route that is needed all is decoded,
so that it can be put back as it was.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

from pyroute2.netlink.rtnl import RTM_GETROUTE, RTM_GETRULE
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from classifier.host.netlink_dump import HEADER_BYTES, attributes, dump, number
from classifier.host.state import ADDRESS_FAMILIES, MAIN_TABLE, PROTOCOL, is_uplink_table
from classifier.policy import Family

_RTMSG = struct.Struct("=BBBBBBBBI")
"""family, dst_len, src_len, tos, table, protocol, scope, type, flags"""
_ATTRIBUTES = HEADER_BYTES + _RTMSG.size
_UNICAST = 1  # RTN_UNICAST
_LARGE_TABLE = 252  # RT_TABLE_COMPAT: the number is above 255 and in RTA_TABLE
_OIF, _GATEWAY, _MULTIPATH, _TABLE, _VIA = 4, 5, 9, 15, 18  # RTA_*
_NEXT_HOP = struct.Struct("=HBBi")
"""struct rtnexthop: length with its attributes, flags, hops, interface index"""


def routes(family: Family) -> list[Any]:
    """Those of ours, those in tables of ours, and of table main the default routes and the
    networks without a gateway, as pyroute2 decodes them; none where the kernel has no such family.

    Raises HostError.
    """
    return list(map(_decoded, needed(_dump(RTM_GETROUTE, family))))


def rules(family: Family) -> list[Any]:
    """All routing rules of a family, as pyroute2 decodes them. Raises HostError."""
    return [_decoded(message, fibmsg) for message in _dump(RTM_GETRULE, family)]


def _dump(kind: int, family: Family) -> list[bytes]:
    # fib_rule_hdr is made like rtmsg.
    wanted = ADDRESS_FAMILIES[family]
    found = dump(kind, _RTMSG.pack(wanted, 0, 0, 0, 0, 0, 0, 0, 0))
    # A kernel without IPv6 answers with what it has of other families.
    return [message for message in found if message[HEADER_BYTES] == wanted]


def _decoded(message: bytes, kind: type[Any] = rtmsg) -> Any:
    decoded = kind(message)
    decoded.decode()
    return decoded


def needed(messages: Iterable[bytes]) -> Iterator[bytes]:
    for message in messages:
        _, dst_len, _, _, table, protocol, _, kind, _ = _RTMSG.unpack_from(message, HEADER_BYTES)
        if protocol == PROTOCOL:
            yield message
        elif table == MAIN_TABLE:
            if kind == _UNICAST and (dst_len == 0 or _is_connected(message)):
                yield message
        elif table == _LARGE_TABLE and _is_in_table_of_ours(message):
            yield message


def _is_in_table_of_ours(message: bytes) -> bool:
    for kind, start, end in attributes(message, _ATTRIBUTES):
        if kind == _TABLE:
            return is_uplink_table(number(message[start:end]))
    return False


def _is_connected(message: bytes) -> bool:
    """Whether the route leads to an interface, and by no path to a gateway."""
    leads = False
    for kind, start, end in attributes(message, _ATTRIBUTES):
        if kind in (_GATEWAY, _VIA):
            return False
        if kind == _MULTIPATH:
            return not _has_gateway(message, start, end)
        leads |= kind == _OIF
    return leads


def _has_gateway(message: bytes, start: int, end: int) -> bool:
    while start + _NEXT_HOP.size <= end:
        length = _NEXT_HOP.unpack_from(message, start)[0]
        hop = attributes(message, start + _NEXT_HOP.size, start + length)
        if any(kind in (_GATEWAY, _VIA) for kind, _, _ in hop):
            return True
        start += max(length + 3 & ~3, _NEXT_HOP.size)
    return False
