"""The routing rules and routes of a policy.

Unmarked packets that no uplink address and no bound socket ties to an uplink are routed as if
none of these were there; so a foreign rule of lower precedence means what it meant. Only where
main and default gave no route, an own packet is led to an uplink, so that it can be classified.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_address

from classifier.host.snapshot import DefaultRoute, Snapshot
from classifier.host.state import (
    BOUND_PRIORITY,
    FIRST_LOOKUP_PRIORITIES,
    GUARD_PRIORITY,
    LOOPBACK,
    MAIN_TABLE,
    MARK_PRIORITY,
    PAST_PRIORITY,
    SOURCE_PRIORITY,
    SPECIFIC_PRIORITY,
    Route,
    RoutingRule,
    table_of,
)
from classifier.host.tunnels import endpoints as tunnel_endpoints
from classifier.host.tunnels import has_endpoints, hides_endpoint
from classifier.policy import Family, Policy, Uplink


def uplinks_of(policy: Policy, family: Family) -> tuple[Uplink, ...]:
    """The uplinks that take flows of a family."""
    return tuple(uplink for uplink in policy.uplinks if family in uplink.families)


def routes(policy: Policy, snapshot: Snapshot, family: Family) -> Iterable[Route]:
    """One default route per uplink that has a way out."""
    for uplink in uplinks_of(policy, family):
        if unusable(uplink, snapshot, family):
            continue
        gateway = _gateway_setting(uplink, family)
        if gateway == "auto" and (found := _main_default(uplink, snapshot, family)):
            gateway = found.gateway
        onlink = gateway is not None and not is_reachable(gateway, uplink, snapshot)
        yield Route(family, table_of(uplink), uplink.interface, gateway, onlink)


def stand_in(policy: Policy, snapshot: Snapshot, family: Family) -> Uplink | None:
    """The uplink that the first lookup of own packets finds where main has no default route.

    None where main has one, where no uplink has a route, and where own flows are not classified.
    """
    if not policy.gateway.local or snapshot.default_interfaces(family):
        return None
    uplinks = _for_first_lookups(policy, snapshot, family)
    return next((u for u in uplinks if not unusable(u, snapshot, family)), None)


def _for_first_lookups(policy: Policy, snapshot: Snapshot, family: Family) -> list[Uplink]:
    """Tunnels come last; one whose endpoint is not known could be led into itself."""
    uplinks = [u for u in uplinks_of(policy, family) if not hides_endpoint(u, snapshot)]
    return sorted(uplinks, key=lambda uplink: has_endpoints(uplink, snapshot))


def unusable(uplink: Uplink, snapshot: Snapshot, family: Family) -> str | None:
    """Why an uplink gets no route and takes no flow of a family; None where it does."""
    if family == 6 and uplink.gateway6 is None:
        return None  # it was not asked to
    link = snapshot.link(uplink.interface)
    if link is None:
        return f"no interface {uplink.interface}"
    if not link.up:
        return f"{link.name} is down"
    if family == 6 and not link.ipv6:
        return f"IPv6 is switched off on {link.name}"
    if uplink.masquerade and not link.interfaces(family):
        # The kernel would masquerade with an address of another interface.
        return f"{link.name} has no IPv{family} address"
    if _gateway_setting(uplink, family) == "auto" and not _main_default(uplink, snapshot, family):
        return f"no IPv{family} default route by {link.name} to take the gateway from"
    gateway = _gateway_setting(uplink, family)
    if gateway in (None, "auto") or uplink.onlink or is_reachable(str(gateway), uplink, snapshot):
        return None
    return f"gateway {gateway} is in none of the networks of {link.name}"


def _main_default(uplink: Uplink, snapshot: Snapshot, family: Family) -> DefaultRoute | None:
    """The best default route of the main table by the uplink's interface."""
    found = [d for d in snapshot.defaults if (d.family, d.interface) == (family, uplink.interface)]
    return min(found, key=lambda default: default.metric, default=None)


def rules(policy: Policy, snapshot: Snapshot, family: Family) -> Iterator[RoutingRule]:
    """In the order of their priorities."""
    uplinks = uplinks_of(policy, family)
    mask = policy.gateway.mask
    by_source = [rule for uplink in uplinks for rule in _by_source(uplink, snapshot, family)]
    by_interface = [
        RoutingRule(family, BOUND_PRIORITY, table_of(uplink), out_interface=uplink.interface)
        for uplink in uplinks
    ]
    # Connected networks, VPNs and static routes come first, for everybody.
    yield RoutingRule(
        family, SPECIFIC_PRIORITY, MAIN_TABLE, mark=(0, mask), inverted=True, specific_only=True
    )
    for rule in (*by_source, *by_interface):
        yield RoutingRule(
            family,
            SPECIFIC_PRIORITY,
            MAIN_TABLE,
            source=rule.source,
            out_interface=rule.out_interface,
            specific_only=True,
        )
    # A socket bound to an interface has chosen; before the marks, because main's default uplink
    # is where unbound sockets seem to go too, so that their packets are classified alike.
    yield from by_interface
    # What a tunnel sends carries the mark of what it wraps, or one that was saved before the
    # tunnel was an uplink: routed on as if it had none. After sockets bound to an interface, as
    # a tunnel can be too (`ip link add ... dev eth1`); so their rules are repeated where it ends.
    tunnels = [uplink for uplink in uplinks if has_endpoints(uplink, snapshot)]
    endpoints = tunnel_endpoints(policy, snapshot, family)
    for uplink in tunnels:
        for endpoint in endpoints:
            yield RoutingRule(
                family,
                BOUND_PRIORITY,
                None,
                mark=(policy.mark(uplink), mask),
                destination=endpoint,
                goto=SOURCE_PRIORITY,
            )
    for uplink in uplinks:
        mark = (policy.mark(uplink), mask)
        yield RoutingRule(family, MARK_PRIORITY, table_of(uplink), mark=mark)
    # An uplink without a route: unreachable, rather than by another uplink. Before the rules for
    # addresses, because a packet of the gateway itself has the source address of the uplink
    # that it would have left by unmarked.
    for uplink in uplinks:
        yield RoutingRule(family, GUARD_PRIORITY, None, mark=(policy.mark(uplink), mask))
    direct = (policy.gateway.marks.direct, mask)
    without_default = stand_in(policy, snapshot, family) is not None
    if without_default:
        # Own packets have the address of the uplink that their first lookup found then. It must
        # not lead them there once they are `direct`.
        yield RoutingRule(family, GUARD_PRIORITY, None, mark=direct, goto=PAST_PRIORITY)
    yield from by_source
    if tunnels and endpoints:
        yield from (replace(rule, priority=SOURCE_PRIORITY) for rule in by_interface)
    if without_default:
        # What `goto` leads to has to be there. It finds nothing that SPECIFIC_PRIORITY did not.
        yield RoutingRule(family, PAST_PRIORITY, MAIN_TABLE, mark=direct, specific_only=True)
    if policy.gateway.local:
        yield from _first_lookups(policy, snapshot, family)


def _first_lookups(policy: Policy, snapshot: Snapshot, family: Family) -> Iterator[RoutingRule]:
    """The kernel looks for a route of an own packet before any hook sees it; without one the
    program gets ENETUNREACH and nothing is classified. Where main has no default route, any
    uplink's does: the mark of the decision leads the packet on. So an uplink that is found dead by
    its probes, whose table has a route still, does no harm here; one whose link is down has none.

    Tunnels come last, and never for what they send themselves. Each uplink has a priority of its
    own, since of equal ones the kernel keeps the order in which they were added.
    """
    unmarked = (0, policy.gateway.mask)
    endpoints = tunnel_endpoints(policy, snapshot, family)
    priority = FIRST_LOOKUP_PRIORITIES.start
    for uplink in _for_first_lookups(policy, snapshot, family):
        if has_endpoints(uplink, snapshot) and endpoints:
            for endpoint in endpoints:
                yield RoutingRule(
                    family,
                    priority,
                    None,
                    mark=unmarked,
                    destination=endpoint,
                    in_interface=LOOPBACK,
                )
            priority, endpoints = priority + 1, ()
        yield RoutingRule(family, priority, table_of(uplink), mark=unmarked, in_interface=LOOPBACK)
        priority += 1


def _by_source(uplink: Uplink, snapshot: Snapshot, family: Family) -> Iterator[RoutingRule]:
    """Rules for sockets that are bound to an address of the uplink."""
    link = snapshot.link(uplink.interface)
    for address in link.interfaces(family) if link else ():
        source = str(address.ip)
        yield RoutingRule(family, SOURCE_PRIORITY, table_of(uplink), source=source)


def _gateway_setting(uplink: Uplink, family: Family) -> str | None:
    return uplink.gateway if family == 4 else uplink.gateway6


def is_reachable(gateway: str, uplink: Uplink, snapshot: Snapshot) -> bool:
    """Whether the gateway is in a network of the uplink's interface."""
    address = ip_address(gateway)
    if address.version == 6 and address.is_link_local:
        return True
    return any(address in network for network in snapshot.connected_by(uplink.interface))
