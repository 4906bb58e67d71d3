"""The kernel's links, with their addresses and their sysctls, out of two lists.

The list of links holds what /proc/sys/net/*/conf has for each of them in half a dozen files.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pyroute2.netlink.rtnl import RTM_GETADDR, RTM_GETLINK
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from classifier.host.netlink_dump import HEADER_BYTES, dump, number, values
from classifier.host.state import ADDRESS_FAMILIES
from classifier.policy import Family

_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, which of them changed
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
# IFLA_* of <linux/if_link.h>
_IFNAME, _LINK, _MASTER, _LINKINFO, _AF_SPEC, _EXT_MASK, _LINK_NETNSID = 3, 5, 10, 18, 26, 29, 37
_INFO_KIND = 1
_NO_STATISTICS = struct.pack("=HHI", 8, _EXT_MASK, 1 << 3)  # RTEXT_FILTER_SKIP_STATS
_IFA_ADDRESS, _IFA_LOCAL = 1, 2  # <linux/if_addr.h>
_GLOBAL = 0  # RT_SCOPE_UNIVERSE

_CONFIGURATION: Mapping[Family, int] = {4: 1, 6: 2}
"""IFLA_INET_CONF and IFLA_INET6_CONF: an array of numbers, by place."""
_PLACES: Mapping[Family, Mapping[str, int]] = {
    # IPV4_DEVCONF_* of <linux/ip.h>, which begin with 1.
    4: {"rp_filter": 8 - 1, "src_valid_mark": 24 - 1, "forwarding": 1 - 1},
    # DEVCONF_* of <linux/ipv6.h>
    6: {"accept_ra": 3, "forwarding": 0, "disable_ipv6": 26},
}


@dataclass(frozen=True, slots=True)
class KernelLink:
    """A link as the kernel tells it."""

    index: int
    name: str
    flags: int
    """IFF_* of <linux/if.h>"""
    kind: str
    """IFLA_INFO_KIND, such as "gre"; empty for hardware and others that tell none."""
    lower: int | None
    """The link that it hands its packets to, in this network namespace."""
    master: int | None
    """The bridge or bond that it is a port of."""
    sysctls: Mapping[Family, Mapping[str, str]]
    """Of net/ipv4/conf and net/ipv6/conf; a family that the link does not have is left out."""
    message: bytes

    def decoded(self) -> Any:
        """All of the message, as pyroute2 decodes it."""
        link = ifinfmsg(self.message)
        link.decode()
        return link


def links() -> list[KernelLink]:
    """Raises HostError."""
    request = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _NO_STATISTICS
    return list(map(link, dump(RTM_GETLINK, request)))


def link(message: bytes) -> KernelLink:
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(message, HEADER_BYTES)
    found = values(message, HEADER_BYTES + _IFINFOMSG.size)
    kind = values(found.get(_LINKINFO, b""), 0).get(_INFO_KIND, b"")
    # The index of a link in another namespace says nothing here.
    here = _LINK in found and _LINK_NETNSID not in found
    return KernelLink(
        index=index,
        name=_text(found[_IFNAME]),
        flags=flags,
        kind=_text(kind),
        lower=number(found[_LINK]) or None if here else None,
        master=number(found[_MASTER]) if _MASTER in found else None,
        sysctls=dict(_sysctls(found.get(_AF_SPEC, b""))),
        message=message,
    )


def _text(value: bytes) -> str:
    return os.fsdecode(value.rstrip(b"\0"))


def _sysctls(specific: bytes) -> Iterator[tuple[Family, dict[str, str]]]:
    found = values(specific, 0)
    for family, places in _PLACES.items():
        settings = values(found.get(ADDRESS_FAMILIES[family], b""), 0)
        configuration = settings.get(_CONFIGURATION[family], b"")
        numbers: Sequence[int] = struct.unpack(f"={len(configuration) // 4}i", configuration)
        if numbers:
            yield family, {name: str(numbers[place]) for name, place in places.items()}


def global_addresses() -> dict[int, list[str]]:
    """Index of each link to its addresses of global scope, with prefix length. Raises HostError."""
    by_index: dict[int, list[str]] = {}
    for message in dump(RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0)):
        _, prefix, _, scope, index = _IFADDRMSG.unpack_from(message, HEADER_BYTES)
        if scope == _GLOBAL:
            found = values(message, HEADER_BYTES + _IFADDRMSG.size)
            # On a point-to-point link IFA_ADDRESS is the other end; IPv6 mostly has no IFA_LOCAL.
            address = ip_address(found.get(_IFA_LOCAL) or found[_IFA_ADDRESS])
            by_index.setdefault(index, []).append(f"{address}/{prefix}")
    return by_index
