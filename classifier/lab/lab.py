"""The lab: a virtual gateway, the service in it, and flows sent through it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from classifier.config import load_policy
from classifier.errors import LabError
from classifier.lab import addresses, features, ftp, topology, traffic
from classifier.lab.closing import Closing
from classifier.lab.connections import ConntrackEntry, NewConnections, connections
from classifier.lab.flows import TCP, FiveTuple, FlowGenerator
from classifier.lab.ftp import FTP_PORT, FtpTransfer
from classifier.lab.gateway_service import GatewayService
from classifier.lab.namespace import Namespace
from classifier.lab.servers import Servers
from classifier.lab.tap import Tap
from classifier.policy import Policy

LAN, GATEWAY = "lan", "gateway"


class Lab(Closing):
    """A virtual gateway for one configuration file.

    Its namespaces are called "lan", "gateway", and by the name of an uplink, which stands for the
    internet behind it.

    >>> with Lab(Path("gateway.toml"), Path("/run/lab")) as lab:
    ...     lab.start_service()
    ...     flows = lab.flows(300, "tcp", 8080)
    ...     answers = lab.connect(flows)                  # {flow: name of the uplink it took}
    ...     lab.send(lab.flows(200, "udp", 5000), packets=10)
    ...     lab.tap.wait_for_packets(2000)
    ...     assert not lab.tap.split_flows()
    """

    def __init__(self, config: Path, directory: Path, *, seed: int = 1) -> None:
        """Build the gateway, without starting the service. `directory` is for its files and has
        to exist. Raises ConfigError, and LabError where this kernel cannot hold a gateway."""
        features.require_gateway()
        self.policy: Policy = load_policy(config)
        self.addresses = addresses.assign(self.policy)
        self._directory = directory
        names = [uplink.name for uplink in self.policy.uplinks]
        if {LAN, GATEWAY} & set(names):
            raise LabError(f"in the lab no uplink can be called {LAN} or {GATEWAY}")
        self._topology = topology.build(self.addresses)
        self.isps = self._topology.isps
        self.namespaces: dict[str, Namespace] = {
            LAN: self._topology.lan,
            GATEWAY: self._topology.gateway,
            **self.isps,
        }
        self.service = GatewayService(self.gateway, config, directory)
        self._flows = FlowGenerator(self.addresses, seed)
        self._servers: Servers | None = None
        self._tap: Tap | None = None
        self._ftp = False

    @property
    def lan(self) -> Namespace:
        return self._topology.lan

    @property
    def gateway(self) -> Namespace:
        return self._topology.gateway

    @property
    def tap(self) -> Tap:
        """What arrives at the ISPs, counted from the first time that this is asked for."""
        if self._tap is None:
            self._tap = Tap(self.isps, topology.ISP_INTERFACE)
        return self._tap

    def start_service(self, *options: str) -> None:
        self.service.start(*options)

    def stop_service(self) -> int:
        return self.service.stop()

    def status(self) -> dict[str, Any]:
        return self.service.status()

    def flows(
        self,
        count: int,
        protocol: str,
        to_port: int | Sequence[int],
        *,
        to: str | Sequence[str] | None = None,
        source: str | Sequence[str] | None = "lan",
        family: int = 4,
    ) -> list[FiveTuple]:
        """Flows that do not exist yet; see `FlowGenerator.make`."""
        return self._flows.make(count, protocol, to_port, to=to, source=source, family=family)

    def serve(self, protocol: int, port: int, version: int = 4, at: str | None = None) -> None:
        """Start a server in the namespace `at`, or with every ISP; see `classifier.lab.servers`."""
        if self._servers is None:
            self._servers = Servers(self.namespaces)
        if self._ftp and (protocol, port) == (TCP, FTP_PORT):
            return  # the FTP server is greeting there
        for name in [at] if at is not None else self.isps:
            self._servers.start(name, protocol, port, version)

    def connect(
        self,
        flows: Sequence[FiveTuple],
        *,
        sender: str = LAN,
        at_once: int = 256,
        timeout: float = traffic.ANSWER_SECONDS,
    ) -> dict[FiveTuple, str | None]:
        """Begin flows to servers on the internet, in order: the uplink that each took, or None
        when nothing answered within `timeout` seconds. TCP flows are connections, UDP flows are
        questions (see `ask`)."""
        self._serve_all(flows)
        return traffic.exchange(self.namespaces[sender], flows, at_once, timeout)

    def ask(self, flows: Sequence[FiveTuple], *, sender: str = LAN) -> dict[FiveTuple, str | None]:
        """UDP questions, each answered by the address that was asked: as `connect`."""
        return self.connect(flows, sender=sender)

    def open(self, flow: FiveTuple, *, sender: str = LAN) -> traffic.Connection:
        """A TCP connection to a server on the internet that stays open; close it."""
        self._serve_all([flow])
        return traffic.Connection(self.namespaces[sender], flow)

    def send(
        self, flows: Iterable[FiveTuple], packets: int = 1, size: int = 32, *, sender: str = LAN
    ) -> None:
        """One-way UDP: `packets` packets of each flow back to back."""
        traffic.send(self.namespaces[sender], flows, packets, size)

    def inject(self, packets: Iterable[bytes], interface: str | None = None) -> int:
        """Put packets (from the IP header on) on the wire of a LAN interface, by default the
        first, as they are; returns how many."""
        sent = 0
        with self.wire(interface) as wire:
            for packet in packets:
                wire.put(packet)
                sent += 1
        return sent

    def wire(self, interface: str | None = None) -> traffic.Injector:
        """The wire of one of the gateway's interfaces, by default the first of the LAN, to put
        packets on at its other end; close it."""
        ends = {lan.interface: (self.lan, f"lan{n}") for n, lan in enumerate(self.addresses.lans)}
        for uplink in self.addresses.uplinks:
            ends[uplink.interface] = self.isps[uplink.name], topology.ISP_INTERFACE
        near = interface or self.addresses.lans[0].interface
        link = self.gateway.run(["ip", "link", "show", near]).stdout
        found = re.search(r"link/ether (\S+)", link)
        if found is None:
            raise LabError(f"the interface {near} has no hardware address")
        return traffic.Injector(*ends[near], found[1])

    def connections(self, family: str = "ipv4") -> list[ConntrackEntry]:
        """The connections that the gateway's kernel knows, with their marks."""
        return connections(self.gateway, family)

    def watch_connections(self) -> NewConnections:
        """From here on, every connection that begins on the gateway, in order; close it."""
        return NewConnections(self.gateway)

    def start_ftp(self) -> None:
        """Start an FTP server at every ISP; LabError when pyftpdlib is missing."""
        if self._servers is not None:
            self._servers.stop(TCP, FTP_PORT)
        ftp.start_servers(self.isps, self._directory)
        self._ftp = True

    def ftp_transfer(self, remote: str, *, passive: bool, source: str | None = None) -> FtpTransfer:
        """Fetch a file from an FTP server on the internet as a host of the LAN."""
        if not self._ftp:
            self.start_ftp()
        host: object = self.addresses.lans[0].hosts[1]
        if ":" in remote:
            if self.addresses.pool6 is None:
                raise LabError("no uplink of this policy takes IPv6 flows, so the lab has no IPv6")
            host = self.addresses.pool6[1]
        return ftp.transfer(self.lan, source or str(host), remote, passive)

    def close(self) -> None:
        """End everything; the namespaces vanish with all that is in them."""
        if self._tap is not None:
            self._tap.close()
        if self._servers is not None:
            self._servers.close()
        self._topology.close()

    def _serve_all(self, flows: Iterable[FiveTuple]) -> None:
        kinds = {(flow.protocol, flow.dport, flow.version) for flow in flows}
        for protocol, port, version in sorted(kinds):
            self.serve(protocol, port, version)
