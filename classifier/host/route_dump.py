"""The routes of the kernel that a gateway depends on, out of the many that a router may have.

pyroute2 takes 60 us to decode a route. A router with ten thousand routes learned by BGP would be
busy with them at every look; so their headers are read first, and few of them are decoded.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

from pyroute2.netlink.rtnl.rtmsg import rtmsg

from classifier.errors import HostError
from classifier.host.state import ADDRESS_FAMILIES, MAIN_TABLE, PROTOCOL, TABLES, Family

# linux/netlink.h and linux/rtnetlink.h
_RTM_GETROUTE = 26
_REQUEST_DUMP = 0x001 | 0x100 | 0x200  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTA_GATEWAY, _RTA_TABLE, _RTA_VIA = 5, 15, 18
_RTN_UNICAST = 1
_RT_TABLE_COMPAT = 252
"""Stands for a table above 255, which RTA_TABLE names."""
# nlmsghdr: length, type, flags, sequence, port; rtmsg: family, dst_len, src_len, tos, table,
# protocol, scope, type, flags
_REQUEST = struct.Struct("=IHHIIBBBBBBBBI")
_HEADER = struct.Struct("=IH10x")
_ROUTE = struct.Struct("=BBxxBBxB4x")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=i")
_BUFFER = 1 << 18


def routes(family: Family) -> Iterator[Any]:
    """Those of the main table that are default routes, or of networks without a gateway; ours (by
    their protocol number), and all that are in a table of ours. None where the kernel has no such
    family; HostError where it does not tell."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
        number = ADDRESS_FAMILIES[family]
        request = (_REQUEST.size, _RTM_GETROUTE, _REQUEST_DUMP, 1, 0, number)
        asking.send(_REQUEST.pack(*request, *([0] * 8)))
        buffer = memoryview(bytearray(_BUFFER))
        while True:
            part = buffer[: asking.recv_into(buffer)]
            at = 0
            while at < len(part):
                length, kind = _HEADER.unpack_from(part, at)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    _raise_error(family, part, at)
                    return
                if _matters(number, part[at : at + length]):
                    message = rtmsg(bytes(part[at : at + length]))
                    message.decode()
                    yield message
                at += length + 3 & ~3


def _matters(wanted: int, message: memoryview) -> bool:
    family, dst_len, table, protocol, kind = _ROUTE.unpack_from(message, _HEADER.size)
    if family != wanted:  # a kernel without IPv6 answers with what it has of other families
        return False
    if protocol == PROTOCOL:
        return True
    if table == MAIN_TABLE:
        if kind != _RTN_UNICAST:
            return False
        return dst_len == 0 or not _attributes(message).keys() & {_RTA_GATEWAY, _RTA_VIA}
    if table != _RT_TABLE_COMPAT:
        return False
    return _NUMBER.unpack_from(message, _attributes(message)[_RTA_TABLE])[0] in TABLES


def _attributes(message: memoryview) -> dict[int, int]:
    """The types of a message's attributes, with the places of their values."""
    found, place = {}, _HEADER.size + _ROUTE.size
    while place < len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, place)
        found[kind] = place + _ATTRIBUTE.size
        place += max(size + 3 & ~3, _ATTRIBUTE.size)
    return found


def _raise_error(family: Family, part: memoryview, at: int) -> None:
    """HostError if the last message of a dump tells of one; a family that is not there is none."""
    code = -_NUMBER.unpack_from(part, at + _HEADER.size)[0]
    if code not in (0, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
        raise HostError(f"IPv{family} routes: {os.strerror(code)}")
