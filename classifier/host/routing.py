"""The routing rules and routes of a policy.

Unmarked packets that no uplink address and no bound socket ties to an uplink are routed as if
none of these were there; so a foreign rule of lower precedence means what it meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from classifier.host.chains import uplinks_of
from classifier.host.facts import DefaultRoute, HostFacts
from classifier.host.state import (
    GUARD_PRIORITY,
    MAIN_TABLE,
    MARK_PRIORITY,
    SOURCE_PRIORITY,
    SPECIFIC_PRIORITY,
    Family,
    Route,
    RoutingRule,
    table_of,
)
from classifier.policy import Policy, Uplink


def routes(policy: Policy, facts: HostFacts, family: Family) -> Iterable[Route]:
    """One default route per uplink that has a way out."""
    for uplink in uplinks_of(policy, family):
        if why_unusable(uplink, facts, family):
            continue
        gateway = _gateway_setting(uplink, family)
        if gateway == "auto" and (found := _main_default(uplink, facts, family)):
            gateway = found.gateway
        onlink = gateway is not None and not _is_reachable(gateway, uplink, facts)
        yield Route(family, table_of(uplink), uplink.interface, gateway, onlink)


def why_unusable(uplink: Uplink, facts: HostFacts, family: Family) -> str | None:
    """Why an uplink gets no route and takes no flow of a family; None where it does."""
    interface = facts.interface(uplink.interface)
    if interface is None:
        return f"there is no interface {uplink.interface}"
    if not interface.up:
        return f"{interface.name} is down"
    if family == 6 and not interface.ipv6:
        return f"IPv6 is switched off on {interface.name}"
    if uplink.masquerade and not interface.has_address(family):
        # The kernel would masquerade with an address of another interface.
        return f"{interface.name} has no IPv{family} address"
    if _gateway_setting(uplink, family) == "auto" and not _main_default(uplink, facts, family):
        return f"no IPv{family} default route by {interface.name} to take the gateway from"
    return None


def _main_default(uplink: Uplink, facts: HostFacts, family: Family) -> DefaultRoute | None:
    """The best default route of the main table by the uplink's interface."""
    found = [d for d in facts.defaults if (d.family, d.interface) == (family, uplink.interface)]
    return min(found, key=lambda default: default.metric, default=None)


def rules(policy: Policy, facts: HostFacts, family: Family) -> Iterator[RoutingRule]:
    """In the order of their priorities."""
    uplinks = uplinks_of(policy, family)
    mask = policy.gateway.mask
    bound = [rule for uplink in uplinks for rule in _bound(uplink, facts, family)]
    # Connected networks, VPNs and static routes come first, as for everybody.
    yield RoutingRule(
        family, SPECIFIC_PRIORITY, MAIN_TABLE, mark=(0, mask), inverted=True, specific_only=True
    )
    for rule in bound:
        yield RoutingRule(
            family,
            SPECIFIC_PRIORITY,
            MAIN_TABLE,
            source=rule.source,
            out_interface=rule.out_interface,
            specific_only=True,
        )
    for uplink in uplinks:
        mark = (policy.mark(uplink), mask)
        yield RoutingRule(family, MARK_PRIORITY, table_of(uplink), mark=mark)
    # An uplink without a route: unreachable, rather than by another uplink. Before the rules for
    # bound sockets, because a packet of the gateway itself has the source address of the uplink
    # that it would have left by unmarked.
    for uplink in uplinks:
        yield RoutingRule(family, GUARD_PRIORITY, None, mark=(policy.mark(uplink), mask))
    yield from bound


def _bound(uplink: Uplink, facts: HostFacts, family: Family) -> Iterator[RoutingRule]:
    """Rules for sockets that are bound to an address of the uplink, or to its interface."""
    interface = facts.interface(uplink.interface)
    if interface is None:
        return
    table = table_of(uplink)
    addresses = {a.ip for a in interface.addresses if a.version == family}
    for address in sorted(addresses, key=int):
        yield RoutingRule(family, SOURCE_PRIORITY, table, source=str(address))
    yield RoutingRule(family, SOURCE_PRIORITY, table, out_interface=uplink.interface)


def _gateway_setting(uplink: Uplink, family: Family) -> str | None:
    return uplink.gateway if family == 4 else uplink.gateway6


def _is_reachable(gateway: str, uplink: Uplink, facts: HostFacts) -> bool:
    address = ip_address(gateway)
    if address.version == 6 and address.is_link_local:
        return True
    return any(
        address in connected.network
        for connected in facts.connected
        if connected.interface == uplink.interface
    )
