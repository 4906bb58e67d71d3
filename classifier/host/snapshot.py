"""Everything of a host that a plan looks at, read once and then plain data.

A snapshot can be written as JSON and read again, so that what happens on a user's host can be
looked at elsewhere and put into a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from typing import Any

from classifier.host.iptables.snapshot import FirewallSnapshot
from classifier.host.memory import Memory
from classifier.host.modules import Presence
from classifier.host.state import Route, RoutingRule
from classifier.policy import Family


@dataclass(frozen=True)
class Link:
    """A network interface."""

    name: str
    index: int
    up: bool = True
    """Switched on; says nothing about a carrier."""
    carrier: bool = True
    point_to_point: bool = False
    """Whatever is sent arrives at the one other end: no neighbour has to be asked for."""
    addresses: tuple[str, ...] = ()
    """Of global scope, with prefix length."""
    ipv6: bool = True
    """Whether the kernel has IPv6 and it is not switched off here (sysctl disable_ipv6)."""
    kind: str = ""
    """As the kernel calls it, such as "gre" or "tun"; empty for hardware."""
    endpoints: tuple[str, ...] = ()
    """Remote addresses of the tunnel that this is, or that lies below it."""

    def interfaces(self, family: Family) -> tuple[IPv4Interface | IPv6Interface, ...]:
        """The addresses of one family, lowest first."""
        parsed = {ip_interface(address) for address in self.addresses}
        return tuple(sorted((a for a in parsed if a.version == family), key=int))


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """One path of a default route of the main table."""

    family: Family
    interface: str
    gateway: str | None = None
    metric: int = 0


@dataclass(frozen=True, slots=True)
class Connected:
    """A network that is reached without a gateway, by the main table."""

    destination: str
    interface: str

    @property
    def network(self) -> IPv4Network | IPv6Network:
        return ip_network(self.destination)


@dataclass(frozen=True, slots=True)
class KernelRule:
    """A routing rule that is there."""

    rule: RoutingRule
    """As far as a `RoutingRule` can say it."""
    protocol: int
    message: Mapping[str, Any] = field(compare=False, repr=False)
    """The kernel's own words: it is deleted, and put back, exactly as it was."""

    def __str__(self) -> str:
        to = None if self.rule.destination else self.message.get("dst")
        more = f" to {to}" if to else ""
        protocol = f" protocol {self.protocol}" if self.protocol else ""
        return f"{self.rule.selector}{more}{protocol}"


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """A route that is there, of ours or in a table of ours."""

    route: Route
    """Of a route that is no default one, only family, table, interface and gateway are told."""
    protocol: int
    destination: str
    message: Mapping[str, Any] = field(compare=False, repr=False)

    def __str__(self) -> str:
        via = f" via {self.route.gateway}" if self.route.gateway else ""
        dev = f" dev {self.route.interface}"
        return f"{self.destination}{via}{dev} table {self.route.table} proto {self.protocol}"


@dataclass(frozen=True, slots=True)
class BoundQueue:
    """An NFQUEUE that some process reads."""

    number: int
    owner: str
    """The process, in words; empty where nobody is to be told of it."""


@dataclass(frozen=True)
class Snapshot:
    firewall: FirewallSnapshot
    links: tuple[Link, ...] = ()
    defaults: tuple[DefaultRoute, ...] = ()
    connected: tuple[Connected, ...] = ()
    routes: tuple[KernelRoute, ...] = ()
    """Those of ours (by their protocol number) and all that are in a table of ours."""
    rules: tuple[KernelRule, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Path under /proc/sys to value."""
    queues: tuple[BoundQueue, ...] = ()
    modules: Mapping[str, Presence] = field(default_factory=dict)
    """Of the kernel modules that conntrack helpers need."""
    ipv6: bool = True
    """Whether the kernel has IPv6 at all."""
    boot_id: str = ""
    known: Memory = field(default_factory=Memory)
    """What a running service knows about the host before it, beside what the kernel remembers."""

    def link(self, name: str) -> Link | None:
        return next((link for link in self.links if link.name == name), None)

    def default_interfaces(self, family: Family) -> frozenset[str]:
        """The interfaces that unmarked packets leave by when no specific route takes them."""
        routes = [route for route in self.defaults if route.family == family]
        best = min((route.metric for route in routes), default=0)
        return frozenset(route.interface for route in routes if route.metric == best)

    def connected_by(self, interface: str) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(c.network for c in self.connected if c.interface == interface)

    @property
    def indices(self) -> Mapping[str, int]:
        """Of the links, by name."""
        return {link.name: link.index for link in self.links}

    @property
    def memory(self) -> Memory:
        """What the host was like before us."""
        links = self.indices
        return self.firewall.memory(self.boot_id).on(links).joined(self.known.on(links))
