"""One engine: a capture sent through a gateway and the same capture replayed are decided alike."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from classifier.config.names import PROTOCOL_NAMES
from classifier.lab.flows import TCP, UDP, FiveTuple
from classifier.lab.limits import scaled
from classifier.lab.packets import datagram, syn
from classifier.replay import FlowDecision, replay

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

SEED = 1234
WEIGHTS = {"wired": 3, "wifi1": 2, "wifi2": 1}
RULES = """
[[rules]]
name = "home networks"
to = ["10.0.0.0/8"]
use = "direct"
[[rules]]
name = "no mail"
protocol = "tcp"
to_ports = [25]
use = "drop"
[[rules]]
name = "interactive"
protocol = "tcp"
to_ports = [22, 443]
use = "wifi2"
"""
Key = tuple[int, str, int | None, str, int | None]


def ipv4(
    flow: FiveTuple, protocol: int, body: bytes, identity: int = 0, fragment: int = 0
) -> bytes:
    assert flow.src is not None
    head = struct.pack(
        ">BBHHHBBH", 0x45, 0, 20 + len(body), identity, fragment, 64, protocol, 0
    ) + socket.inet_aton(flow.src) + socket.inet_aton(flow.dst)  # fmt: skip
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + body


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(flow: FiveTuple) -> bytes:
    body = struct.pack(">BBHHH", 8, 0, 0, flow.sport, 1)
    return ipv4(flow, 1, body[:2] + struct.pack(">H", checksum(body)) + body[4:])


def in_fragments(flow: FiveTuple, identity: int) -> list[bytes]:
    whole = struct.pack(">HHHH", flow.sport, flow.dport, 1208, 0) + bytes(1200)
    pieces = [
        ipv4(flow, UDP, whole[:800], identity, 0x2000),
        ipv4(flow, UDP, whole[800:], identity, 100),
    ]
    return pieces[:: random.Random(identity).choice((1, -1))]


def traffic(gateway: Lab) -> Iterator[bytes]:
    """New flows of many kinds, some packets of each more than once, to remotes that come again."""
    chance = random.Random(SEED)
    remotes = [f"198.18.{chance.randrange(256)}.{n}" for n in range(1, 120)]
    remotes += [f"10.9.9.{n}" for n in range(1, 20)]
    hosts = [str(gateway.addresses.lans[0].hosts[n]) for n in range(3)]
    sent: list[bytes] = []
    for number in range(600):
        host, remote = chance.choice(hosts), chance.choice(remotes)
        port = chance.choice((22, 25, 53, 443, 5000, 8080))
        flow = FiveTuple(UDP, host, 20000 + number, remote, port)
        kind = chance.random()
        if kind < 0.4:
            sent.append(syn(flow._replace(protocol=TCP)))
        elif kind < 0.8:
            sent.append(datagram(flow, b"hello"))
        elif kind < 0.9:
            # The kernel keeps an echo's identifier apart from others to the same remote.
            sent.append(echo_request(flow))
        else:
            yield from in_fragments(flow, number + 1)
        if sent:
            yield sent[-1]
            if chance.random() < 0.5:
                yield chance.choice(sent[-40:])


def write_pcap(path: Path, packets: list[bytes]) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for number, packet in enumerate(packets):
            file.write(struct.pack("<IIII", 1_700_000_000, number * 500, len(packet), len(packet)))
            file.write(packet)


def key(decision: FlowDecision) -> Key:
    protocol = PROTOCOL_NAMES[decision.protocol]
    return protocol, decision.src, decision.sport, decision.dst, decision.dport


def uplinks(gateway: Lab, wanted: int) -> dict[Key, set[str | None]]:
    """Where the kernel's connections of the LAN go, once there are as many as wanted."""
    names: dict[int, str | None] = {gateway.policy.mark(u): u.name for u in gateway.policy.uplinks}
    names[gateway.policy.gateway.marks.direct] = None
    inside = gateway.addresses.lans[0].hosts
    deadline = time.monotonic() + scaled(10)
    while True:
        connections = [c for c in gateway.connections() if ip_address(c.src) in inside]
        if len(connections) >= wanted or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    found: dict[Key, set[str | None]] = {}
    for c in connections:
        ports = (c.sport, c.dport) if c.protocol in (TCP, UDP) else (None, None)
        place = c.protocol, c.src, ports[0], c.dst, ports[1]
        found.setdefault(place, set()).add(names[c.mark & gateway.policy.gateway.mask])
    return found


@pytest.mark.parametrize("method", ["nth", "weighted", "hash"])
@pytest.mark.parametrize("sticky", ["", 'sticky = { by = "remote", timeout = "4h" }'])
def test_a_capture_sent_through_the_gateway_is_decided_as_it_is_replayed(
    lab: StartLab, configuration: Configuration, tmp_path: Path, method: str, sticky: str
) -> None:
    text = configuration(WEIGHTS, method=method, balancer=sticky, rules=RULES)
    gateway = lab(text, seed=SEED)
    for isp in gateway.isps.values():
        # No answers: the capture has none either.
        isp.run(["iptables", "-w", "-I", "INPUT", "-j", "DROP"])
    packets = list(traffic(gateway))
    write_pcap(tmp_path / "sent.pcap", packets)
    report = replay(gateway.policy, tmp_path / "sent.pcap", seed=SEED)
    assert report.untracked == report.malformed == 0
    offline: dict[Key, set[str | None]] = {}
    for decision in report.decisions:
        if decision.reason != "drop":
            offline.setdefault(key(decision), set()).add(decision.uplink)
    gateway.inject(packets)
    live = uplinks(gateway, sum(decision.reason != "drop" for decision in report.decisions))
    assert live == offline
    assert {None, *WEIGHTS} == set.union(*offline.values())
    assert {"direct", "drop", "pinned", method} <= {d.reason for d in report.decisions}
    assert len(offline) > 300
