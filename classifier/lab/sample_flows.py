"""Flows made to match the rules of any policy, and flows to anywhere."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from itertools import chain, zip_longest

from classifier.lab.addresses import Addresses
from classifier.lab.flows import TCP, UDP, FiveTuple
from classifier.lab.lab import Lab
from classifier.lab.packets import datagram, syn
from classifier.policy import Network, Policy, Rule

_TCP_PORTS = (80, 443, 8080, 22, 25, 993, 5222, 6881)
_UDP_PORTS = (53, 123, 443, 3478, 5004)
_TRIES = 20


@dataclass(frozen=True, slots=True)
class SampleFlow:
    """A flow with all that the engine would be told about its first packet."""

    flow: FiveTuple
    in_interface: str | None
    """None: one of the gateway's own flows."""
    packet: bytes
    """From the IP header on."""


class SampleFlows:
    """Makes flows that a virtual gateway can carry; same seed, same flows."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self._lab = lab
        self._policy: Policy = lab.policy
        self._addresses: Addresses = lab.addresses
        self._random = random.Random(seed)

    def make(self, count: int) -> list[SampleFlow]:
        """About `count` flows: half to anywhere, half for the rules in turn, well mixed."""
        rules = [rule for rule in self._policy.rules if _can_be_met(rule, self._policy)]
        each = count // 2 // len(rules) if rules else 0
        ports = {rule.name: self._ports(rule) for rule in rules}
        made = [self._for_rule(rule, each, ports[rule.name]) for rule in rules]
        made.append(self._anywhere(count - each * len(rules)))
        mixed = chain.from_iterable(zip_longest(*made))
        return [sample for sample in mixed if sample is not None]

    def _anywhere(self, count: int) -> list[SampleFlow]:
        lan = self._addresses.lans[0].interface if self._addresses.lans else None
        source = "lan" if lan else None
        tcp = self._lab.flows(count - count // 3, "tcp", _TCP_PORTS, source=source)
        udp = self._lab.flows(count // 3, "udp", _UDP_PORTS, source=source)
        mixed = [*tcp, *udp]
        self._random.shuffle(mixed)
        return [self._sample(flow, lan) for flow in mixed]

    def _for_rule(self, rule: Rule, count: int, ports: Sequence[int]) -> list[SampleFlow]:
        family = 6 if rule.family == "ipv6" or _only_ipv6(rule) else 4
        protocol = "udp" if rule.protocols and TCP not in rule.protocols else "tcp"
        interface = self._interface(rule)
        source = self._sources(rule, interface, family)
        found: list[SampleFlow] = []
        for number in range(count):
            remote = self._remote(rule, family)
            if remote is None:
                break
            (flow,) = self._lab.flows(
                1, protocol, ports[number % len(ports)], to=remote,
                source=source[number % len(source)] if source else None, family=family,
            )  # fmt: skip
            if rule.from_ports:
                low, high = self._random.choice(rule.from_ports)
                flow = flow._replace(sport=self._random.randint(max(low, 1), high))
            found.append(self._sample(flow, interface))
        return found

    def _ports(self, rule: Rule) -> list[int]:
        """Few ports of many, since a server has to listen on each."""
        if not rule.to_ports:
            return list(_UDP_PORTS if rule.protocols and TCP not in rule.protocols else _TCP_PORTS)
        ranges = self._random.sample(rule.to_ports, min(len(rule.to_ports), 4))
        return sorted({max(port, 1) for low, high in ranges for port in (low, high)})

    def _interface(self, rule: Rule) -> str | None:
        names = [lan.interface for lan in self._addresses.lans]
        return next((name for name in rule.in_interfaces if name in names), None) or next(
            iter(names), None
        )

    def _sources(self, rule: Rule, interface: str | None, family: int) -> list[str] | None:
        if interface is None:
            return None
        networks = [n for n in rule.from_ if n in self._addresses.sources and n.version == family]
        if networks:
            return [self._host(network) for network in networks for _ in range(8)]
        lan = next(lan for lan in self._addresses.lans if lan.interface == interface)
        if family == 4:
            return [str(lan.hosts[number]) for number in range(1, 100)]
        pool = self._addresses.pool6
        return [str(pool[number]) for number in range(1, 100)] if pool else None

    def _remote(self, rule: Rule, family: int) -> str | None:
        """A host that the rule takes and that lies on the internet; None when none is found."""
        networks = [network for network in rule.to if network.version == family]
        if not networks:
            (flow,) = self._lab.flows(1, "tcp", 1, source=None, family=family)
            return flow.dst
        for _ in range(_TRIES):
            host = self._host(self._random.choice(networks))
            if self._outside(host):
                return host
        return None

    def _host(self, network: Network) -> str:
        size = network.num_addresses
        return str(network[self._random.randrange(1, size - 1) if size > 2 else 0])

    def _outside(self, host: str) -> bool:
        address = ip_address(host)
        near: list[Network] = [
            *(
                IPv4Network((uplink.own, uplink.prefix), False)
                for uplink in self._addresses.uplinks
            ),
            *(lan.network for lan in self._addresses.lans),
            *self._addresses.sources,
            self._addresses.pool,
        ]
        special = (
            address.is_multicast or address.is_loopback or address.is_link_local
            or address.is_unspecified or address.is_reserved
        )  # fmt: skip
        return not special and not any(address in network for network in near)

    def _sample(self, flow: FiveTuple, interface: str | None) -> SampleFlow:
        # A socket's source address is chosen by the main table, before anything marks its packets.
        src = flow.src or str(self._addresses.uplinks[0].own)
        make = syn if flow.protocol == TCP else datagram
        return SampleFlow(flow, interface, make(flow._replace(src=src)))


def _can_be_met(rule: Rule, policy: Policy) -> bool:
    """Whether flows for the rule can be made: not for a user's own, nor for other protocols."""
    if rule.users or rule.dscp or (rule.protocols and not {TCP, UDP} & set(rule.protocols)):
        return False
    return policy.ipv6 or not (rule.family == "ipv6" or _only_ipv6(rule))


def _only_ipv6(rule: Rule) -> bool:
    return any(
        networks and all(network.version == 6 for network in networks)
        for networks in (rule.from_, rule.to)
    )
