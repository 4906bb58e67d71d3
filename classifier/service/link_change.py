"""What a link event says about its link: read from the message itself.

Everything else is looked up anew when an event comes. A link that lost its carrier is the
exception, because new flows must avoid it within 50 ms.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass

from pyroute2.netlink import rtnl

_HEADER = struct.Struct("=IH")  # struct nlmsghdr: length, type, and what is not read
_HEADER_LENGTH = 16
_IFINFOMSG = struct.Struct("=BxxxiII")  # family, index, flags, which of them changed
_ATTRIBUTE = struct.Struct("=HH")  # length with this header, type
_IFLA_IFNAME = 3
# linux/if.h
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_IFF_LOWER_UP = 0x10000
_CARRIER = _IFF_RUNNING | _IFF_LOWER_UP


@dataclass(frozen=True, slots=True)
class LinkChange:
    """A link as it was when the kernel sent the event."""

    index: int
    name: str
    up: bool
    """Set up by an administrator."""
    carrier: bool
    """Packets can pass: up, a signal below (IFF_LOWER_UP), and operational or not known to be
    otherwise (IFF_RUNNING; RFC 2863's ifOperStatus, "dormant" before 802.1X is one that is not).
    """
    gone: bool
    """There is no such link any more (in this network namespace)."""


def link_change(message: memoryview) -> LinkChange | None:
    """From one RTM_NEWLINK or RTM_DELLINK; None when it speaks of something else.

    A bridge tells about its ports with the same types of message, and of a port that leaves it
    with RTM_DELLINK: those are of family AF_BRIDGE.
    """
    _, kind = _HEADER.unpack_from(message)
    family, index, flags, _ = _IFINFOMSG.unpack_from(message, _HEADER_LENGTH)
    if family != socket.AF_UNSPEC:
        return None
    gone = kind == rtnl.RTM_DELLINK
    carrier = not gone and flags & _CARRIER == _CARRIER
    return LinkChange(index, _name(message), bool(flags & _IFF_UP), carrier, gone)


def _name(message: memoryview) -> str:
    place = _HEADER_LENGTH + _IFINFOMSG.size
    while place + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, place)
        if kind == _IFLA_IFNAME:
            return os.fsdecode(bytes(message[place + 4 : place + length - 1]))  # without its zero
        place += max(length + 3 & ~3, _ATTRIBUTE.size)
    return ""
