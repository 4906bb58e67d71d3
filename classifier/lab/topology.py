"""The namespaces of the virtual gateway and the wires between them.

::

    lan ===(each LAN interface)=== gateway ===(uplink interface)=== isp "wired"
                                           ===(uplink interface)=== isp "wifi1"   ...

Every ISP is the internet itself: any remote address answers there, so the uplink that a flow took
is the namespace in which it arrives. The LAN is one namespace with the addresses of many hosts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from classifier.lab.addresses import Addresses, LanAddresses, UplinkAddresses
from classifier.lab.namespace import Namespace
from classifier.lab.running_links import wait_until_running

ISP_INTERFACE = "customer"
"""Name of the interface in an ISP's namespace at which the gateway's packets arrive."""
_MAC = "02:00:00:00:00:{:02x}"
_FIRST_METRIC = 100

# A host that answers for any address: no reverse path check, no IPv6 address duels.
_HOST: dict[str, int | str] = {
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.conf.all.accept_local": 1,
    "net.ipv4.ip_nonlocal_bind": 1,
    "net.ipv4.ip_forward": 0,
    "net.ipv4.tcp_syn_retries": 2,
    "net.ipv4.ip_local_port_range": "10000 59999",
    "net.ipv6.ip_nonlocal_bind": 1,
    "net.ipv6.conf.all.forwarding": 0,
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.accept_ra": 0,
}
# What a distribution leaves on a gateway, with the strict reverse path check that many set: the
# service has to bring it to work itself, and `down` has to bring this back.
_GATEWAY: dict[str, int | str] = {
    "net.ipv4.ip_forward": 0,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 1,
    "net.ipv6.conf.all.forwarding": 0,
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.accept_ra": 0,
}


@dataclass(frozen=True)
class Topology:
    lan: Namespace
    gateway: Namespace
    isps: dict[str, Namespace]
    """By name of the uplink, in the order of the configuration."""
    addresses: Addresses

    def namespaces(self) -> Iterator[Namespace]:
        yield from (self.gateway, self.lan, *self.isps.values())

    def close(self) -> None:
        for namespace in self.namespaces():
            namespace.close()


def build(addresses: Addresses) -> Topology:
    """Make the namespaces and wire them; what was made is closed again when that fails."""
    with ExitStack() as undo:
        lan = undo.enter_context(Namespace.create("lan"))
        gateway = undo.enter_context(Namespace.create("gateway"))
        isps = {
            uplink.name: undo.enter_context(Namespace.create(f"isp {uplink.name}"))
            for uplink in addresses.uplinks
        }
        for host in (lan, *isps.values()):
            _set(host, _HOST)
        _set(gateway, _GATEWAY)
        _wire(gateway, lan, isps, addresses)
        _ip(lan, _lan_side(addresses))
        _ip(gateway, _gateway_side(addresses))
        for uplink in addresses.uplinks:
            _ip(isps[uplink.name], _isp_side(uplink, addresses))
            _drop_icmp_errors(isps[uplink.name])
        wait_until_running(gateway)
        undo.pop_all()
    return Topology(lan, gateway, isps, addresses)


def _set(namespace: Namespace, sysctls: Mapping[str, int | str]) -> None:
    for name, value in sysctls.items():
        namespace.sysctl(name, value)


def _ip(namespace: Namespace, lines: Iterator[str]) -> None:
    namespace.run(["ip", "-batch", "-"], input="".join(f"{line}\n" for line in lines))


def _wire(
    gateway: Namespace, lan: Namespace, isps: dict[str, Namespace], addresses: Addresses
) -> None:
    def pairs() -> Iterator[str]:
        for number, link in enumerate(addresses.lans):
            yield _pair(link.interface, "", lan, f"lan{number}", "")
        for number, uplink in enumerate(addresses.uplinks):
            # Both ends of a link without neighbours have one hardware address, so that a packet
            # that was sent without asking whose it is reaches the other end all the same.
            mac = f"address {_MAC.format(number)}" if uplink.point_to_point else ""
            yield _pair(uplink.interface, mac, isps[uplink.name], ISP_INTERFACE, mac)

    _ip(gateway, pairs())


def _pair(near: str, near_mac: str, namespace: Namespace, far: str, far_mac: str) -> str:
    target = f"/proc/{os.getpid()}/fd/{namespace.fileno()}"
    return (
        f"link add name {near} {near_mac} txqueuelen 1000 type veth "
        f"peer name {far} {far_mac} netns {target}"
    )


def _gateway_side(addresses: Addresses) -> Iterator[str]:
    for lan in addresses.lans:
        yield f"link set dev {lan.interface} up"
        yield f"addr add {lan.gateway}/{lan.network.prefixlen} dev {lan.interface}"
        if lan.network6 is not None:
            yield f"addr add {lan.network6[1]}/64 dev {lan.interface} nodad"
    if addresses.lans:
        first = addresses.lans[0]
        behind = [addresses.pool, *addresses.sources]
        if addresses.pool6 is not None:
            behind.append(addresses.pool6)
        for network in behind:
            if network.version == 4:
                yield f"route replace {network} via {first.router} dev {first.interface}"
            elif first.network6 is not None:
                yield f"route replace {network} via {first.network6[2]} dev {first.interface}"
    for number, uplink in enumerate(addresses.uplinks):
        yield from _gateway_uplink(uplink, _FIRST_METRIC + number)


def _gateway_uplink(uplink: UplinkAddresses, metric: int) -> Iterator[str]:
    dev = uplink.interface
    yield f"link set dev {dev} {'arp off' if uplink.point_to_point else ''} up"
    yield f"addr add {uplink.own}/{uplink.prefix} dev {dev}"
    if uplink.own6 is not None:
        yield f"addr add {uplink.own6}/64 dev {dev} nodad"
    if uplink.main:
        via = "" if uplink.point_to_point else f"via {uplink.isp}"
        yield f"route add default {via} dev {dev} metric {metric}"
    if uplink.main6:
        yield f"route add default via {uplink.isp6} dev {dev} metric {metric}"


def _lan_side(addresses: Addresses) -> Iterator[str]:
    for number, lan in enumerate(addresses.lans):
        yield from _lan_link(lan, f"lan{number}")
        yield f"route add local {lan.hosts} dev lo table local"
    if not addresses.lans:
        return
    for network in (addresses.pool, addresses.pool6, *addresses.sources):
        if network is not None:
            yield f"route replace local {network} dev lo table local"
    # A host answers and asks by the link it lives on.
    for number, lan in enumerate(addresses.lans[1:], 1):
        yield f"rule add from {lan.network} lookup {100 + number}"
        yield f"route add default via {lan.gateway} dev lan{number} table {100 + number}"


def _lan_link(lan: LanAddresses, interface: str) -> Iterator[str]:
    first = interface == "lan0"
    yield f"link set dev {interface} up"
    yield f"addr add {lan.router}/{lan.network.prefixlen} dev {interface}"
    if first:
        yield f"route add default via {lan.gateway} dev {interface}"
    if lan.network6 is not None:
        yield f"addr add {lan.network6[2]}/64 dev {interface} nodad"
        if first:
            yield f"route add default via {lan.network6[1]} dev {interface}"


def _isp_side(uplink: UplinkAddresses, addresses: Addresses) -> Iterator[str]:
    dev = ISP_INTERFACE
    yield f"link set dev {dev} {'arp off' if uplink.point_to_point else ''} up"
    yield f"addr add {uplink.isp}/{uplink.prefix} dev {dev}"
    # In table main, not local: there it would hide the link to the gateway.
    yield "route add local default dev lo table main"
    networks = [addresses.pool, *(lan.network for lan in addresses.lans), *addresses.sources]
    if uplink.own6 is not None:
        yield f"addr add {uplink.isp6}/64 dev {dev} nodad"
        if uplink.isp6 is not None and uplink.isp6.is_link_local:
            yield f"route add {uplink.own6}/64 dev {dev}"
        yield "route add local ::/0 dev lo table main"
        networks += [n for n in (addresses.pool6,) if n is not None]
    if not uplink.masquerade:
        for network in networks:
            if network.version == 4:
                yield f"route add {network} via {uplink.own} dev {dev}"
            elif uplink.own6 is not None:
                yield f"route add {network} via {uplink.own6} dev {dev}"


def _drop_icmp_errors(isp: Namespace) -> None:
    """No ICMP error for a port on which nothing listens: most flows need no answer."""
    for program, icmp in (("iptables", "icmp"), ("ip6tables", "icmpv6")):
        error = ["-p", icmp, f"--{icmp}-type", "destination-unreachable"]
        isp.run([program, "-w", "-A", "OUTPUT", *error, "-j", "DROP"])
