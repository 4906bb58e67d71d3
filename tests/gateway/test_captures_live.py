"""Captures of real applications, sent through a gateway packet by packet and replayed offline:
the kernel begins the same flows, in the same order, and they are given the same uplinks."""

from __future__ import annotations

import time
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import captured
import pytest

from classifier.config.names import PROTOCOL_NAMES
from classifier.replay import FlowDecision, replay

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.connections import ConntrackEntry
    from classifier.lab.lab import Lab
    from classifier.policy import Network

SEED = 99
WEIGHTS = {"wired": 3, "wifi1": 2, "wifi2": 1}
UPLINK = 'masquerade = false\ngateway6 = "fe80::1"'
RULES = """
[[rules]]
name = "names are asked at home"
to_ports = [53]
protocol = ["tcp", "udp"]
use = "direct"
[[rules]]
name = "web"
protocol = "tcp"
to_ports = [80]
use = "wifi2"
"""
BALANCERS = ["", 'sticky = { by = "remote", timeout = "4h", prefix4 = 24, prefix6 = 56 }']
TICK = 1000  # microseconds from one packet to the next

Begun = tuple[int, str, int | None, str, int | None, str | None]


def near(gateway: Lab) -> list[Network]:
    """Networks in which the lab's own addresses are: a packet for them would not be forwarded."""
    a = gateway.addresses
    return [
        a.pool,
        *([a.pool6] if a.pool6 else []),
        *(network for lan in a.lans for network in (lan.network, lan.network6) if network),
        *(ip_network((u.own, u.prefix), strict=False) for u in a.uplinks),
        *(ip_network((u.own6, 64), strict=False) for u in a.uplinks if u.own6),
    ]


def open_up(gateway: Lab) -> None:
    """Both directions of the captures come from the LAN, and nobody else says anything."""
    gateway.gateway.sysctl("net.ipv4.conf.lan0.rp_filter", 0)
    # What a window allows depends on packets that a capture may lack; replay does not look at it.
    gateway.gateway.sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", 1)
    for name in ("lan0", *(uplink.interface for uplink in gateway.addresses.uplinks)):
        gateway.gateway.run(["ip", "link", "set", name, "mtu", "65535"])
    gateway.lan.run(["ip", "link", "set", "lan0", "mtu", "65535"])
    for isp in gateway.isps.values():
        isp.run(["ip", "link", "set", "customer", "mtu", "65535"])
        isp.run(["iptables", "-w", "-I", "INPUT", "-j", "DROP"])
        ping = ["-p", "icmpv6", "--icmpv6-type", "echo-request"]
        for rule in (["!", "-p", "icmpv6"], ping):
            isp.run(["ip6tables", "-w", "-I", "INPUT", *rule, "-j", "DROP"])


def send(gateway: Lab, packets: list[bytes], beginning: set[int]) -> list[int]:
    """Send packets in their order; after one that begins a flow wait until it has arrived at an
    ISP. Returns when each was sent, in microseconds."""
    times = []
    start = time.monotonic_ns()
    with gateway.wire() as wire:
        for number, packet in enumerate(packets):
            before = gateway.tap.count(packet) if number in beginning else 0
            times.append((time.monotonic_ns() - start) // 1000)
            wire.put(packet)
            if number in beginning:
                gateway.tap.wait(
                    lambda tap, packet=packet, before=before: tap.count(packet) > before,
                    what=f"packet {number}, which begins a flow",
                )
    return times


def offline(decision: FlowDecision) -> Begun:
    protocol = PROTOCOL_NAMES[decision.protocol]
    ports = decision.sport, decision.dport
    return protocol, decision.src, ports[0], decision.dst, ports[1], decision.uplink


def live(gateway: Lab, c: ConntrackEntry) -> Begun:
    names: dict[int, str | None] = {gateway.policy.mark(u): u.name for u in gateway.policy.uplinks}
    names[gateway.policy.gateway.marks.direct] = None
    ports = (c.sport, c.dport) if c.protocol in (captured.TCP, captured.UDP) else (None, None)
    return c.protocol, c.src, ports[0], c.dst, ports[1], names[c.mark & gateway.policy.gateway.mask]


@pytest.mark.skipif(not captured.captures(), reason="no captures beside the project")
@pytest.mark.parametrize("balancer", BALANCERS, ids=["nth", "sticky"])
def test_real_applications_are_decided_live_as_they_are_replayed(
    lab: StartLab, configuration: Configuration, tmp_path: Path, balancer: str
) -> None:
    text = configuration(WEIGHTS, balancer=balancer, uplink=UPLINK, rules=RULES)
    gateway = lab(text, seed=SEED)
    open_up(gateway)
    packets: list[bytes] = []
    for path in captured.captures():
        packets += captured.forwardable(path, near(gateway))
    planned, sent = tmp_path / "planned.pcap", tmp_path / "sent.pcap"
    captured.write(planned, packets, range(0, len(packets) * TICK, TICK))
    begins = {
        round((decision.time - captured.START) * 1_000_000 / TICK)
        for decision in replay(gateway.policy, planned, seed=SEED).decisions
    }
    with gateway.watch_connections() as begun:
        captured.write(sent, packets, send(gateway, packets, begins))
        report = replay(gateway.policy, sent, seed=SEED)
        wanted = [offline(decision) for decision in report.decisions]
        got = [live(gateway, tracked) for tracked in begun.wait_for(len(wanted))]
    differ = next(
        (i for i, pair in enumerate(zip(wanted, got, strict=False)) if len({*pair}) > 1), None
    )
    assert differ is None, f"flow {differ}: {got[differ]} instead of {wanted[differ]}"
    assert len(got) == len(wanted)
    assert {None, *WEIGHTS} == {begun[-1] for begun in got}
    assert {4, 6} == {6 if ":" in begun[1] else 4 for begun in got}
    assert len(got) > 500
