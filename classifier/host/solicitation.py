"""Asking the routers of a link to advertise themselves now (RFC 4861, 6.3.7).

The kernel asks when a link comes up, but not where it would not accept the answer at that moment.
"""

from __future__ import annotations

import contextlib
import socket

_ALL_ROUTERS = "ff02::2"
_SOLICITATION = bytes((133, 0, 0, 0, 0, 0, 0, 0))
"""Type, code, checksum (the kernel's work on this kind of socket), reserved."""
_HOP_LIMIT = 255
"""Others are thrown away: they have come from another link."""


def solicit_router(interface: str) -> None:
    """Send one Router Solicitation; nothing where the interface cannot send yet: the kernel asks
    by itself when it can."""
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as asking,
    ):
        index = socket.if_nametoindex(interface)
        asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
        asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        asking.sendto(_SOLICITATION, (_ALL_ROUTERS, 0, 0, index))
