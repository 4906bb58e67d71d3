"""Uplinks that are tunnels: a tunnel's own packets must never be placed on it.

They would be wrapped again and again. The kernel knows where most tunnels send their packets
(`Link.endpoints`); flows to there are left to the main table, whoever sends them, as a route to the
endpoint in the main table would do. Where a program sends them, only a rule of the policy can.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from classifier.host.endpoints import TUNNELS
from classifier.host.snapshot import Snapshot
from classifier.policy import Family, Policy, Rule, Uplink


def has_endpoints(uplink: Uplink, snapshot: Snapshot) -> bool:
    link = snapshot.link(uplink.interface)
    return link is not None and bool(link.endpoints)


def hides_endpoint(uplink: Uplink, snapshot: Snapshot) -> bool:
    """Whether it is a tunnel and nobody can say where its own packets go."""
    link = snapshot.link(uplink.interface)
    return link is not None and link.kind in TUNNELS and not link.endpoints


def endpoints(policy: Policy, snapshot: Snapshot, family: Family) -> tuple[str, ...]:
    """The remote addresses of one family of all tunnels that uplinks need, lowest first."""
    needed = {uplink.interface for uplink in policy.uplinks}
    waiting = [link for link in snapshot.links if link.name in needed]
    found: set[str] = set()
    while waiting:
        for endpoint in waiting.pop().endpoints:
            if endpoint not in found:
                found.add(endpoint)
                # The way to it may be another tunnel, such as GRE over WireGuard.
                waiting += [
                    link for link in snapshot.links if _leads_to(link.name, endpoint, snapshot)
                ]
    addresses = sorted(map(ip_address, found), key=int)
    return tuple(str(address) for address in addresses if address.version == family)


def _leads_to(interface: str, endpoint: str, snapshot: Snapshot) -> bool:
    return any(ip_address(endpoint) in network for network in snapshot.connected_by(interface))


def warnings(policy: Policy, snapshot: Snapshot) -> Iterator[str]:
    """Tunnels whose packets cannot be told from others."""
    for uplink in policy.uplinks:
        link = snapshot.link(uplink.interface)
        if link is None or not hides_endpoint(uplink, snapshot):
            continue
        if link.kind == "wireguard" or not policy.gateway.local or _is_kept_off(uplink, policy):
            # WireGuard sends nothing to a peer before it knows where that is.
            continue
        whose = "a tunnel of a program" if link.kind == "tun" else f"{link.kind} without a remote"
        yield (
            f"uplink {uplink.name}: {link.name} is {whose}: add a rule"
            ' { to = [its server], use = "direct" }, or its own packets may be placed on it'
        )


def _is_kept_off(uplink: Uplink, policy: Policy) -> bool:
    """Whether a rule for a server, or for a program's user, comes before those that may take this
    uplink. Whether it is the right server cannot be told from here."""
    taking = {uplink.name}
    taking |= {b.name for b in policy.balancers if uplink.name in {m.uplink for m in b.members}}
    for rule in policy.rules:
        if rule.use in taking:
            return False
        if not rule.in_interfaces and (rule.users or _names_a_host(rule)):
            return True
    return True


def _names_a_host(rule: Rule) -> bool:
    return any(network.prefixlen == network.max_prefixlen for network in rule.to)
