"""From a policy and a snapshot of a host to everything that has to be on that host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from classifier.host import ct_helpers, routing, sysctls, tunnels
from classifier.host.firewall import PacketPath, UplinkPath
from classifier.host.snapshot import Snapshot
from classifier.host.state import Route, RoutingRule, Sysctl
from classifier.policy import FAMILIES, Family, Policy


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is ours on the host while a policy acts; empty: nothing of ours."""

    routes: tuple[Route, ...] = ()
    rules: tuple[RoutingRule, ...] = ()
    paths: tuple[PacketPath, ...] = ()
    """IPv4, then IPv6 where any uplink takes it."""
    sysctls: tuple[Sysctl, ...] = ()
    """In the order they have to be written."""
    modules: tuple[str, ...] = ()
    """Kernel modules to load where the kernel has them as modules."""
    refusals: tuple[str, ...] = ()
    """What keeps the service from starting, as sentences."""
    warnings: tuple[str, ...] = ()
    """What will not work as the policy may have meant it, as sentences."""


NOTHING = Plan()


def plan(policy: Policy, snapshot: Snapshot) -> Plan:
    """What the host needs for `policy`. Pure: the same policy and snapshot give the same plan.

    Never fails: what cannot work is told in `refusals` and `warnings`.
    """
    families: tuple[Family, ...] = FAMILIES if policy.ipv6 and snapshot.ipv6 else (4,)
    return Plan(
        routes=tuple(route for f in families for route in routing.routes(policy, snapshot, f)),
        rules=tuple(rule for f in families for rule in routing.rules(policy, snapshot, f)),
        paths=tuple(_path(policy, snapshot, f) for f in families),
        sysctls=tuple(_sysctls(policy, snapshot)),
        modules=ct_helpers.modules(policy.gateway.helpers),
        refusals=tuple(_refusals(policy, snapshot)),
        warnings=tuple(_warnings(policy, snapshot, families)),
    )


def _path(policy: Policy, snapshot: Snapshot, family: Family) -> PacketPath:
    default = snapshot.default_interfaces(family)
    stand_in = routing.stand_in(policy, snapshot, family)
    return PacketPath(
        family=family,
        marks=policy.gateway.marks,
        queue=policy.queue,
        uplinks=tuple(
            UplinkPath(
                interface=u.interface,
                mark=policy.mark(u),
                masquerade=u.masquerade,
                classify_own=u.interface in default or u == stand_in,
                stands_in=u == stand_in,
            )
            for u in routing.uplinks_of(policy, family)
        ),
        lan=policy.gateway.lan,
        local=policy.gateway.local,
        left_alone=tuple(_left_alone(policy, snapshot, family)),
        helpers=ct_helpers.assignments(policy.gateway.helpers, family),
    )


def _left_alone(policy: Policy, snapshot: Snapshot, family: Family) -> Iterator[str]:
    """Connected networks: main's specific routes come before the marks, so these flows stay where
    they are whatever is decided; asking would only move the counters. And the endpoints of
    tunnels that are uplinks."""
    networks = {c.network for c in snapshot.connected if c.network.version == family}
    networks |= set(map(ip_network, tunnels.endpoints(policy, snapshot, family)))
    for network in sorted(networks, key=lambda n: (int(n.network_address), n.prefixlen)):
        if not (family == 6 and network.is_link_local):
            yield str(network)


def _sysctls(policy: Policy, snapshot: Snapshot) -> Iterator[Sysctl]:
    """In this order: accept_ra first, or forwarding would take away the routes it has brought."""
    before = {**snapshot.sysctls, **snapshot.memory.sysctls}
    if policy.ipv6:
        for uplink in policy.uplinks:
            key = f"net/ipv6/conf/{uplink.interface}/accept_ra"
            if uplink.gateway6 is not None and before.get(key) == "1":
                yield Sysctl(key, sysctls.ours(key))
    for uplink in policy.uplinks:
        if snapshot.link(uplink.interface) is not None:
            yield from _reverse_path(uplink.interface, before)
    yield Sysctl(sysctls.FORWARD4, "1")
    if policy.ipv6 and snapshot.ipv6:
        yield Sysctl(sysctls.FORWARD6, "1")


def _reverse_path(interface: str, before: dict[str, str]) -> Iterator[Sysctl]:
    """Strict becomes loose; and it asks by the mark, or an uplink would need main's default."""
    strictness = _effective("rp_filter", interface, before)
    if strictness == 1:
        yield Sysctl(f"net/ipv4/conf/{interface}/rp_filter", "2")
    if strictness and not _effective("src_valid_mark", interface, before):
        yield Sysctl(f"net/ipv4/conf/{interface}/src_valid_mark", "1")


def _effective(name: str, interface: str, values: dict[str, str]) -> int:
    """The larger of `all` and the interface (Documentation/networking/ip-sysctl.rst)."""
    keys = (f"net/ipv4/conf/{where}/{name}" for where in ("all", interface))
    return max(int(values.get(key, "0")) for key in keys)


def _interfaces(policy: Policy) -> list[tuple[str, str]]:
    """Those that the policy needs: the key that names each, and its name."""
    lan = [("gateway.lan", name) for name in policy.gateway.lan]
    return lan + [(f"uplinks.{u.name}.interface", u.interface) for u in policy.uplinks]


def _refusals(policy: Policy, snapshot: Snapshot) -> Iterator[str]:
    wanted = _interfaces(policy)
    # One that is missing may come later (a stick, a tunnel, a bridge); but with none of them this
    # is another host than the policy was written for.
    if not any(snapshot.link(name) for _, name in wanted):
        names = sorted(link.name for link in snapshot.links if link.name != "lo")
        there = ", ".join(names) or "none"
        for key, name in wanted:
            yield f'{key}: this host has no interface "{name}"; it has {there}'
    for uplink in policy.uplinks:
        for gateway in (uplink.gateway, uplink.gateway6):
            if gateway not in (None, "auto"):
                yield from _gateway_refusals(uplink.name, str(gateway), policy, snapshot)


def _gateway_refusals(
    uplink: str, gateway: str, policy: Policy, snapshot: Snapshot
) -> Iterator[str]:
    key = f"uplinks.{uplink}.gateway{6 if ':' in gateway else ''} = {gateway}"
    for own in snapshot.links:
        if any(address.partition("/")[0] == gateway for address in own.addresses):
            yield f"{key}: is an address of this host ({own.name}); name the router's"
            return
    made = policy.uplink(uplink)
    link = snapshot.link(made.interface)
    if made.onlink or link is None or routing.is_reachable(gateway, made, snapshot):
        return
    addresses = link.interfaces(6 if ":" in gateway else 4)
    # One that is down has addresses and no networks yet; one without addresses waits for them.
    if addresses and not any(ip_address(gateway) in address.network for address in addresses):
        yield (
            f"{key}: is in none of the networks of {made.interface};"
            f" correct it, or set uplinks.{uplink}.onlink = true if that is meant"
        )


def _warnings(policy: Policy, snapshot: Snapshot, families: tuple[Family, ...]) -> Iterator[str]:
    if policy.ipv6 and not snapshot.ipv6:
        yield "this kernel has no IPv6, or it is switched off: IPv6 is left out"
    for key, name in _interfaces(policy):
        if snapshot.link(name) is None:
            yield f'{key}: this host has no interface "{name}": waiting for it'
    for uplink in policy.uplinks:
        link = snapshot.link(uplink.interface)
        if link is None:
            continue  # told above
        if link.up and uplink.gateway is None and not link.point_to_point:
            yield (
                f"uplink {uplink.name}: {link.name} is not a point-to-point link; without a"
                " gateway the kernel will ARP for every destination"
            )
        reasons = {f: why for f in families if (why := routing.unusable(uplink, snapshot, f))}
        for why in dict.fromkeys(reasons.values()):
            flows = " and ".join(f"IPv{family}" for family in reasons if reasons[family] == why)
            yield f"uplink {uplink.name}: {why}; it takes no {flows} flows"
    yield from tunnels.warnings(policy, snapshot)
    for module in ct_helpers.modules(policy.gateway.helpers):
        if "_nat_" in module and snapshot.modules.get(module) == "missing":
            yield (
                f"kernel module {module} is not loaded and cannot be loaded from here: behind"
                f" masquerading its data connections get lost; load it at boot (modules-load.d)"
            )
    for family in families:
        if not snapshot.default_interfaces(family):
            yield (
                f"the main table has no IPv{family} default route: flows that are direct, and"
                " forwarded ones that no classifier answers, have no way out"
            )
