"""What a plan has to know about the host it is made for, read once and then plain data."""

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

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from classifier.errors import HostError
from classifier.host import found, sysctls, xtables
from classifier.host.kernel import gateway_of
from classifier.host.state import ADDRESS_FAMILIES, MAIN_TABLE, Family, Variant

_UNICAST = 1  # RTN_UNICAST in <linux/rtnetlink.h>
_UP, _POINT_TO_POINT, _NO_ARP = 0x1, 0x10, 0x80  # IFF_* in <linux/if.h>
_GLOBAL = 0  # RT_SCOPE_UNIVERSE


@dataclass(frozen=True, slots=True)
class Interface:
    name: str
    index: int
    up: bool = True
    point_to_point: bool = False
    """Whatever is sent arrives at the one other end: no neighbour has to be asked for."""
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    """Of global scope."""
    ipv6: bool = True
    """Whether the kernel has IPv6 and it is not switched off here (sysctl disable_ipv6)."""

    def has_address(self, family: Family) -> bool:
        return any(address.version == family for address in self.addresses)


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    family: Family
    interface: str
    gateway: str | None = None
    metric: int = 0


@dataclass(frozen=True, slots=True)
class Connected:
    """A network that is reached without a gateway, by the main table."""

    network: IPv4Network | IPv6Network
    interface: str


@dataclass(frozen=True)
class HostFacts:
    interfaces: tuple[Interface, ...] = ()
    defaults: tuple[DefaultRoute, ...] = ()
    """Default routes of the main table; a multipath one is one entry per path."""
    connected: tuple[Connected, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Path under /proc/sys to value, as it was before us."""
    variant: Variant = "nft"
    ipv6: bool = True
    """Whether the kernel has IPv6 at all."""

    def interface(self, name: str) -> Interface | None:
        return next((i for i in self.interfaces if i.name == name), None)

    def default_interfaces(self, family: Family) -> frozenset[str]:
        """The interfaces that unmarked packets leave by when no specific route takes them."""
        routes = [route for route in self.defaults if route.family == family]
        best = min((route.metric for route in routes), default=0)
        return frozenset(route.interface for route in routes if route.metric == best)


def read(variant: Variant | None = None) -> HostFacts:
    """The facts of the calling thread's network namespace.

    `variant` says which iptables to use; None: the one that the program `iptables` is. Raises
    HostError when there is no iptables, or the kernel refuses to tell.
    """
    variant = variant or xtables.installed_variant()
    try:
        with IPRoute() as netlink:
            links = {link["index"]: link for link in netlink.get_links()}
            addresses = _addresses(netlink)
            routes = [r for f in ADDRESS_FAMILIES for r in _main_routes(netlink, f)]
    except NetlinkError as error:
        raise HostError(f"interfaces and routes cannot be read: {error.args[1]}") from error
    names = {index: link.get_attr("IFLA_IFNAME") for index, link in links.items()}
    return HostFacts(
        interfaces=tuple(_interface(link, addresses) for link in links.values()),
        defaults=tuple(d for route in routes for d in _defaults(route, names)),
        connected=tuple(c for route in routes for c in _connected(route, names)),
        sysctls=_sysctls(variant),
        variant=variant,
        ipv6=sysctls.read(sysctls.FORWARD6) is not None,
    )


def _addresses(netlink: IPRoute) -> dict[int, list[IPv4Interface | IPv6Interface]]:
    by_index: dict[int, list[IPv4Interface | IPv6Interface]] = {}
    for message in netlink.get_addr():
        if message["scope"] != _GLOBAL:
            continue
        # On a point-to-point link IFA_ADDRESS is the other end; IPv6 mostly has no IFA_LOCAL.
        address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        by_index.setdefault(message["index"], []).append(
            ip_interface(f"{address}/{message['prefixlen']}")
        )
    return by_index


def _interface(
    link: Any, addresses: Mapping[int, list[IPv4Interface | IPv6Interface]]
) -> Interface:
    flags, name = link["flags"], link.get_attr("IFLA_IFNAME")
    return Interface(
        name=name,
        index=link["index"],
        up=bool(flags & _UP),
        point_to_point=bool(flags & (_POINT_TO_POINT | _NO_ARP)),
        addresses=tuple(addresses.get(link["index"], ())),
        ipv6=sysctls.read(f"net/ipv6/conf/{name}/disable_ipv6") == "0",
    )


def _main_routes(netlink: IPRoute, family: Family) -> list[Any]:
    return [
        route
        for route in netlink.get_routes(family=ADDRESS_FAMILIES[family], table=MAIN_TABLE)
        if route["family"] == ADDRESS_FAMILIES[family]
        and route["type"] == _UNICAST
        and route.get_attr("RTA_TABLE") == MAIN_TABLE
    ]


def _defaults(route: Any, names: Mapping[int, str]) -> list[DefaultRoute]:
    if route["dst_len"] != 0:
        return []
    family: Family = 4 if route["family"] == ADDRESS_FAMILIES[4] else 6
    metric = route.get_attr("RTA_PRIORITY") or 0
    return [
        DefaultRoute(family, names[index], gateway, metric)
        for index, gateway in _paths(route)
        if index in names
    ]


def _paths(route: Any) -> list[tuple[int, str | None]]:
    multipath = route.get_attr("RTA_MULTIPATH")
    if multipath is None:
        return [(route.get_attr("RTA_OIF"), gateway_of(route))]
    return [(hop["oif"], gateway_of(hop)) for hop in multipath]


def _connected(route: Any, names: Mapping[int, str]) -> list[Connected]:
    paths = _paths(route)
    if route["dst_len"] == 0 or any(gateway for _, gateway in paths):
        return []
    network = ip_network(f"{route.get_attr('RTA_DST')}/{route['dst_len']}")
    return [Connected(network, names[index]) for index, _ in paths if index in names]


def _sysctls(variant: Variant) -> dict[str, str]:
    """As they were before us, also while we are here: a plan made twice has to come out alike."""
    values = {
        **sysctls.per_interface("ipv4", "rp_filter"),
        **sysctls.per_interface("ipv4", "src_valid_mark"),
        **sysctls.per_interface("ipv6", "accept_ra"),
    }
    for key in (sysctls.FORWARD4, sysctls.FORWARD6):
        if (value := sysctls.read(key)) is not None:
            values[key] = value
    before = found.read_all(variant).sysctls
    return {key: before.get(key, value) for key, value in values.items()}
