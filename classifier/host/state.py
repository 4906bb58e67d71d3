"""What a host has to look like for a policy to act: routes, rules and sysctls as frozen values.

Numbers that mark something as ours are fixed here, because a later process has to recognise by
them what an earlier one left behind.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from classifier.policy import Family, Uplink

ADDRESS_FAMILIES: Mapping[Family, int] = {4: socket.AF_INET, 6: socket.AF_INET6}
"""What netlink calls them."""
FAMILY_NAMES: Mapping[Family, str] = {4: "ip", 6: "ip6"}
"""What nft calls them."""
FAMILIES_BY_NAME: Mapping[str, Family] = {name: family for family, name in FAMILY_NAMES.items()}
"""By what nft calls them."""

PROTOCOL = 78
"""The routing protocol number (rtm_protocol in <linux/rtnetlink.h>) on every rule and route of
ours. Not in iproute2's rt_protos, nor used by any routing daemon that is listed there."""

TABLE_BASE = 20800
"""The routing table of an uplink is this plus its id."""

SPECIFIC_PRIORITY = 20800
BOUND_PRIORITY = 20801
MARK_PRIORITY = 20802
GUARD_PRIORITY = 20803
SOURCE_PRIORITY = 20804
PAST_PRIORITY = 20805
FIRST_LOOKUP_PRIORITIES = range(40801, 40801 + 255)
"""One per uplink, in the order of the policy. After main (32766), default (32767) and what others
have right behind these."""
PRIORITIES = range(SPECIFIC_PRIORITY, PAST_PRIORITY + 1)

MAIN_TABLE = 254  # RT_TABLE_MAIN
LOOPBACK = "lo"


def table_of(uplink: Uplink) -> int:
    """The number of the routing table that an uplink's flows are routed by."""
    return TABLE_BASE + uplink.id


def is_uplink_table(number: int) -> bool:
    """Whether a routing table is one that an uplink may have: ids take one byte."""
    return TABLE_BASE <= number < TABLE_BASE + 256


@dataclass(frozen=True, slots=True)
class Route:
    """A default route by one uplink, in that uplink's table."""

    family: Family
    table: int
    interface: str
    gateway: str | None
    """None: whatever is sent into the interface comes out at the other end."""
    onlink: bool = False
    """The gateway is in none of the interface's networks."""

    def __str__(self) -> str:
        other = "inet6 " if self.family == 4 and ":" in (self.gateway or "") else ""
        via = f" via {other}{self.gateway}" if self.gateway else ""
        onlink = " onlink" if self.onlink else ""
        return f"default{via} dev {self.interface} table {self.table} proto {PROTOCOL}{onlink}"


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """One `ip rule`; a selector that is None matches everything."""

    family: Family
    priority: int
    table: int | None
    """None: answer "unreachable", unless there is a `goto`."""
    mark: tuple[int, int] | None = None
    """Value and mask."""
    inverted: bool = False
    source: str | None = None
    """One address, without a prefix length."""
    destination: str | None = None
    """One address, without a prefix length."""
    in_interface: str | None = None
    """Only packets that arrived on this interface; LOOPBACK: only those of the host itself."""
    out_interface: str | None = None
    """Only sockets bound to this interface."""
    specific_only: bool = False
    """Take every route of the table but the default one (suppress_prefixlength 0)."""
    goto: int | None = None
    """Go on with the first rule of this priority."""

    def __str__(self) -> str:
        return f"{self.selector} protocol {PROTOCOL}"

    @property
    def selector(self) -> str:
        """The rule but for whose it is."""
        words = [f"pref {self.priority}"]
        if self.inverted:
            words.append("not")
        if self.source:
            words.append(f"from {self.source}")
        if self.destination:
            words.append(f"to {self.destination}")
        if self.mark:
            words.append(f"fwmark 0x{self.mark[0]:x}/0x{self.mark[1]:x}")
        if self.in_interface:
            words.append(f"iif {self.in_interface}")
        if self.out_interface:
            words.append(f"oif {self.out_interface}")
        if self.table is not None:
            words.append(f"lookup {'main' if self.table == MAIN_TABLE else self.table}")
        elif self.goto is not None:
            words.append(f"goto {self.goto}")
        else:
            words.append("unreachable")
        if self.specific_only:
            words.append("suppress_prefixlength 0")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Sysctl:
    key: str
    """Path under /proc/sys, since names of interfaces may have dots in them."""
    value: str
