"""Which addresses the virtual gateway, its LAN and its ISPs get, computed from the policy alone.

The lab may use any address: its namespaces are cut off from every real network. It only has to
keep its own addresses apart from those that the policy speaks of, since a LAN that lies in a
network of a rule would make the rule mean something else than on the real gateway.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from classifier.errors import LabError
from classifier.policy import Network, Policy, Uplink

REMOTES = IPv4Network("198.18.0.0/15")
"""Remote hosts of generated flows: the networks for benchmarks, RFC 2544."""
REMOTES6 = IPv6Network("2001:2::/48")
"""The same for IPv6, RFC 5180."""

_LAN_BLOCKS = tuple(
    IPv4Network(block)
    for block in ("10.76.0.0/15", "172.28.0.0/15", "100.126.0.0/15", "203.2.0.0/15", "9.76.0.0/15")
)
_AUTOMATIC = IPv4Network("100.64.0.0/16")


@dataclass(frozen=True, slots=True)
class UplinkAddresses:
    """The link between the gateway and one ISP."""

    name: str
    interface: str
    own: IPv4Address
    """The gateway's address on this uplink."""
    isp: IPv4Address
    """The ISP's address: the uplink's gateway."""
    prefix: int
    own6: IPv6Address | None
    isp6: IPv6Address | None
    point_to_point: bool
    """No gateway is configured: the uplink takes packets without asking for a neighbour."""
    masquerade: bool
    main: bool
    """Whether the main table has a default route by this uplink."""
    main6: bool


@dataclass(frozen=True, slots=True)
class LanAddresses:
    """One LAN interface: the gateway is the first address, the LAN's own router the second."""

    interface: str
    network: IPv4Network
    network6: IPv6Network | None

    @property
    def gateway(self) -> IPv4Address:
        return self.network[1]

    @property
    def router(self) -> IPv4Address:
        return self.network[2]

    @property
    def hosts(self) -> IPv4Network:
        """Hosts directly on the link: the upper half of the network."""
        return list(self.network.subnets(1))[1]


@dataclass(frozen=True, slots=True)
class Addresses:
    uplinks: tuple[UplinkAddresses, ...]
    lans: tuple[LanAddresses, ...]
    pool: IPv4Network
    """More hosts, behind the router of the first LAN, for who needs thousands."""
    pool6: IPv6Network | None
    """The IPv6 hosts, behind that router too; None where no uplink takes IPv6 flows."""
    sources: tuple[Network, ...]
    """Networks that the policy's rules name as sources; they lie behind that router."""

    def uplink(self, name: str) -> UplinkAddresses:
        return next(uplink for uplink in self.uplinks if uplink.name == name)


def assign(policy: Policy) -> Addresses:
    """Addresses for a virtual gateway with this policy; LabError where none can be given."""
    if "lo" in (*policy.gateway.lan, *(uplink.interface for uplink in policy.uplinks)):
        raise LabError("the interface lo is there already: the lab cannot wire it to anything")
    uplinks: list[UplinkAddresses] = []
    for uplink in policy.uplinks:
        uplinks.append(_uplink(uplink, uplinks))
    taken: list[Network] = [IPv4Network((u.own, u.prefix), strict=False) for u in uplinks]
    named = [network for rule in policy.rules for network in (*rule.from_, *rule.to)]
    block = _free_block([*taken, *named])
    links, pool = block.subnets(1)
    lan6 = IPv6Network("fd00:76::/32") if policy.ipv6 else None
    return Addresses(
        uplinks=tuple(uplinks),
        lans=tuple(
            LanAddresses(
                interface,
                IPv4Network((int(links[0]) + (number << 8), 24)),
                IPv6Network((int(lan6[0]) + (number << 64), 64)) if lan6 else None,
            )
            for number, interface in enumerate(policy.gateway.lan)
        ),
        pool=pool,
        pool6=IPv6Network("fd00:76:1::/48") if lan6 else None,
        sources=tuple(_sources(policy, [*taken, REMOTES, REMOTES6])),
    )


def _uplink(uplink: Uplink, before: list[UplinkAddresses]) -> UplinkAddresses:
    number = len(before) + 1
    automatic = uplink.gateway in (None, "auto")
    isp = _AUTOMATIC[(number << 8) + 1] if automatic else IPv4Address(str(uplink.gateway))
    own, prefix = _neighbour(isp, {other.own for other in before})
    own6, isp6 = _addresses6(uplink, number)
    return UplinkAddresses(
        name=uplink.name,
        interface=uplink.interface,
        own=own,
        isp=isp,
        prefix=prefix,
        own6=own6,
        isp6=isp6,
        point_to_point=uplink.gateway is None,
        masquerade=uplink.masquerade,
        main=not before or uplink.gateway == "auto",
        main6=isp6 is not None
        and (uplink.gateway6 == "auto" or not any(other.main6 for other in before)),
    )


def _neighbour(isp: IPv4Address, taken: set[IPv4Address]) -> tuple[IPv4Address, int]:
    """An address on the ISP's link, the link as small as can be, not one that is taken."""
    for prefix in range(30, 15, -1):
        hosts = list(IPv4Network((isp, prefix), strict=False).hosts())
        if isp in hosts:
            for host in hosts:
                if host != isp and host not in taken:
                    return host, prefix
    raise LabError(f"no address is free beside the uplink gateway {isp}")


def _addresses6(uplink: Uplink, number: int) -> tuple[IPv6Address | None, IPv6Address | None]:
    """The gateway's global address on the uplink, and the ISP's, which may be link-local."""
    if uplink.gateway6 is None:
        return None, None
    link = IPv6Network((int(IPv6Address("2001:db8:64::")) + (number << 64), 64))
    if uplink.gateway6 == "auto":
        return link[2], link[1]
    isp = IPv6Address(uplink.gateway6)
    if isp.is_link_local:
        return link[2], isp
    link = IPv6Network((isp, 64), strict=False)
    return next(address for address in (link[2], link[3]) if address != isp), isp


def _free_block(taken: list[Network]) -> IPv4Network:
    for block in _LAN_BLOCKS:
        # A rule for the whole internet says nothing about where the LAN is.
        if not any(
            isinstance(other, IPv4Network) and other.prefixlen > 7 and block.overlaps(other)
            for other in taken
        ):
            return block
    return _LAN_BLOCKS[0]


def _sources(policy: Policy, taken: list[Network]) -> list[Network]:
    """Networks of the rules' `from` that can lie in the LAN: those that collide with nothing."""
    found: list[Network] = []
    for network in (network for rule in policy.rules for network in rule.from_):
        free = network.prefixlen > 7 and not network.is_loopback and not network.is_multicast
        if free and network not in found and not any(_overlap(network, other) for other in taken):
            found.append(network)
    return found


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
