"""Flows to be sent through the virtual gateway."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import cycle
from typing import NamedTuple

from classifier.errors import LabError
from classifier.lab.addresses import REMOTES, REMOTES6, Addresses

TCP = socket.IPPROTO_TCP
UDP = socket.IPPROTO_UDP
PROTOCOLS = {"tcp": TCP, "udp": UDP}

_FIRST_PORT, _LAST_PORT = 20000, 59999


class FiveTuple(NamedTuple):
    """A flow, by what its packets have in common; ports in host order."""

    protocol: int
    src: str | None
    """None: the kernel chooses the source address (the gateway's own flows)."""
    sport: int
    dst: str
    dport: int

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.dst else 4

    @property
    def after_nat(self) -> tuple[int, int, str, int]:
        """What masquerading leaves of it: protocol, source port and remote. The lab's flows differ
        in their source ports, so that the kernel has no reason to change them."""
        return self.protocol, self.sport, self.dst, self.dport

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if self.version == 6 else socket.AF_INET


class FlowGenerator:
    """Makes flows that differ in their source ports, so that they are told apart after NAT.

    The ports repeat after forty thousand flows. Same seed, same flows.
    """

    def __init__(self, addresses: Addresses, seed: int = 1) -> None:
        self._addresses = addresses
        self._random = random.Random(seed)
        self._ports = cycle(range(_FIRST_PORT, _LAST_PORT + 1))
        self._anywhere = {4: self._hosts(REMOTES), 6: self._hosts(REMOTES6)}

    def make(
        self,
        count: int,
        protocol: str,
        to_port: int | Sequence[int],
        *,
        to: str | Sequence[str] | None = None,
        source: str | Sequence[str] | None = "lan",
        family: int = 4,
    ) -> list[FiveTuple]:
        """`count` flows.

        `to`: remotes, used in turn; a network in CIDR form stands for random hosts of it; None
        for random hosts of the internet. `source`: source addresses, used in turn; "lan" for the
        hosts of the first LAN interface; None for the kernel's choice. `to_port`: ports in turn.
        """
        ports = cycle([to_port] if isinstance(to_port, int) else to_port)
        remotes = self._remotes(to, family)
        sources = self._sources(source, family)
        number = PROTOCOLS[protocol]
        return [
            FiveTuple(number, next(sources), next(self._ports), next(remotes), next(ports))
            for _ in range(count)
        ]

    def _remotes(self, to: str | Sequence[str] | None, family: int) -> Iterator[str]:
        if to is None:
            return self._anywhere[family]
        if isinstance(to, str):
            return self._hosts(ip_network(to)) if "/" in to else cycle([to])
        return cycle(to)

    def _hosts(self, network: IPv4Network | IPv6Network) -> Iterator[str]:
        """Random hosts of a network, each once before one comes again."""
        size = network.num_addresses
        first, count = (1, size - 2) if size > 2 else (0, size)
        drawn: set[int] = set()
        while True:
            if len(drawn) == count:
                drawn.clear()
            offset = first + self._random.randrange(count)
            if offset not in drawn:
                drawn.add(offset)
                yield str(network[offset])

    def _sources(
        self, source: str | Sequence[str] | None, family: int
    ) -> Iterator[str] | Iterator[None]:
        if source is None:
            return cycle([None])
        if source != "lan":
            return cycle([source] if isinstance(source, str) else source)
        addresses = self._addresses
        if not addresses.lans:
            raise LabError("this policy has no LAN interface")
        if family == 4:
            hosts = addresses.lans[0].hosts
            return cycle(str(host) for host in hosts if host != hosts.broadcast_address)
        if addresses.pool6 is None:
            raise LabError("no uplink of this policy takes IPv6 flows, so the lab has no IPv6")
        return cycle(str(addresses.pool6[number]) for number in range(1, 255))
