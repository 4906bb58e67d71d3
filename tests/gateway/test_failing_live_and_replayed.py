"""Uplinks that fail at the same times, live and in a replay: every flow is decided the same.

Captures of real applications, FTP among them, go through a gateway packet by packet: what a
client sends from the LAN, what is answered by the uplink that the flow has. Uplinks are taken down,
drained and given back by hand meanwhile; what is answered to connections that the gateway has ended
is for nobody, and is not sent. The same packets are replayed offline with the same events.

One policy has every method whose decisions follow from the flows alone, each for the flows of some
ports. least-loaded, overflow and fastest go by what is measured meanwhile, which no two runs
have alike.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import captured
import pytest
from test_captures_live import Begun, live, near, offline, open_up

from classifier.replay import FlowDecision, replay
from classifier.service.control.client import ask

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab
    from classifier.lab.traffic import Injector

SEED = 5
WEIGHTS = {"wired": 3, "wifi1": 2, "wifi2": 1}
UPLINK = 'masquerade = false\ngateway6 = "fe80::1"'
RULES = """
[[rules]]
name = "names are asked anywhere"
protocol = "udp"
to_ports = [53]
use = "drawn"
[[rules]]
name = "a method of one's own"
protocol = "tcp"
to_ports = 443
from_ports = "1024-41999"
use = "own"
[[rules]]
name = "the same for IPv6"
protocol = "tcp"
to_ports = 443
family = "ipv6"
use = "own"
[[rules]]
name = "by hash"
protocol = "tcp"
to_ports = 443
from_ports = "42000-49999"
use = "hashed"
[[rules]]
name = "by the pair of hosts"
protocol = "tcp"
to_ports = 443
from_ports = "50000-52499"
use = "pairs"
[[rules]]
name = "by the host"
protocol = "tcp"
to_ports = 443
from_ports = "52500-54999"
use = "hosts"
[[rules]]
name = "two at least"
protocol = "tcp"
to_ports = 443
from_ports = "55000-57999"
use = "tiered"
[[rules]]
name = "web by the second, while it is there"
protocol = "tcp"
to_ports = [80]
use = "wifi1"
"""
BALANCER = 'sticky = { by = "remote", timeout = "4h" }'
BALANCERS = """
[balancers.drawn]
method = "weighted"
uplinks = ["wired", "wifi1", "wifi2"]
[balancers.own]
method = "parity_methods:Fewest"
uplinks = ["wired", "wifi1", "wifi2"]
sticky = "remote"
[balancers.hashed]
method = "hash"
uplinks = ["wired", "wifi1", "wifi2"]
[balancers.pairs]
uplinks = ["wired", "wifi1", "wifi2"]
sticky = "local+remote"
[balancers.hosts]
method = "weighted"
uplinks = ["wired", "wifi1"]
sticky = "local"
fallback = "wifi2"
[balancers.tiered]
uplinks = { wired = { tier = 1 }, wifi2 = { tier = 1 }, wifi1 = { tier = 2 } }
least_up = 2
"""
EVERYWHERE = (
    ("names are asked anywhere", "weighted"),
    ("a method of one's own", "custom"),
    ("a method of one's own", "sticky"),
    ("the same for IPv6", "custom"),
    ("by hash", "hash"),
    ("by the pair of hosts", "nth"),
    ("two at least", "nth"),
    ("the rest", "nth"),
    ("the rest", "sticky"),
)
"""Rules, and reasons for which they have used each uplink."""
METHOD = """
class Fewest:
    # By figures of the engine, which have to be the same too.
    def select(self, flow, uplinks, now):
        return min(uplinks, key=lambda u: (u.flows / u.weight, (int(flow.dst) + flow.dport) % 7))
"""
FILES = ("android", "bittorrent", "ftp", "http_ipv6", "instagram", "netflix", "quic.", "signal",
         "sites", "tor")  # fmt: skip
STEERED = ((0.2, "wired", "down"), (0.45, "wired", "auto"), (0.5, "wifi1", "drain"),
           (0.65, "wifi2", "down"), (0.8, "wifi1", "up"))  # fmt: skip
"""At which part of the packets which uplink is asked to be what."""
TICK = 1_000_000  # nanoseconds from one planned packet to the next

Key = tuple[int, bytes, bytes]


def traffic(gateway: Lab) -> list[bytes]:
    """Packets of several captures in turns, so that many flows are there when an uplink fails."""
    paths = [path for path in captured.captures() if path.name.startswith(FILES)]
    each = [captured.forwardable(path, near(gateway)) for path in paths]
    return [packet for turn in zip_longest(*each) for packet in turn if packet is not None]


def key(packet: bytes) -> Key:
    """What tells a flow by: the protocol, then address and port of both ends."""
    if packet[0] >> 4 == 4:
        protocol, src, dst, at = packet[9], packet[12:16], packet[16:20], 4 * (packet[0] & 15)
    else:
        protocol, src, dst, at = packet[6], packet[8:24], packet[24:40], 40
    if protocol not in (captured.TCP, captured.UDP):
        return protocol, src, dst
    return protocol, src + packet[at : at + 2], dst + packet[at + 2 : at + 4]


@dataclass
class Steered:
    """What was sent when, with the events of a replay."""

    times: list[int] = field(default_factory=list)
    """Microseconds since the first packet."""
    events: list[str] = field(default_factory=list)


@dataclass
class Sender:
    """Sends packets in order, each from where it would come."""

    gateway: Lab
    wires: dict[str | None, Injector]
    """By uplink; None: the LAN."""
    begins: dict[int, FlowDecision]
    """By number of the packet that begins it."""
    owners: dict[Key, str] = field(default_factory=dict)
    """Uplinks of the flows there are, by what their clients send."""
    ended: set[Key] = field(default_factory=set)

    def steer(self, name: str, state: str) -> None:
        runtime_dir = self.gateway.service.runtime_dir
        ask(runtime_dir, "POST", f"/uplinks/{name}", {"state": state}, seconds=60)
        if state == "down":
            lost = {key for key, uplink in self.owners.items() if uplink == name}
            self.ended |= lost
            for key in lost:
                del self.owners[key]

    def put(self, number: int, packet: bytes) -> None:
        protocol, near, far = key(packet)
        asked, answered = (protocol, near, far), (protocol, far, near)
        if number in self.begins:
            self._begin(number, packet, asked)
        elif answered in self.owners:
            self.wires[self.owners[answered]].put(packet)
        elif answered not in self.ended:
            self.wires[None].put(packet)

    def _begin(self, number: int, packet: bytes, asked: Key) -> None:
        tap = self.gateway.tap
        before = tap.count(packet)
        self.wires[None].put(packet)
        tap.wait(lambda tap: tap.count(packet) > before, what=f"packet {number}, begins a flow")
        # What is direct leaves by the default route of main.
        self.owners[asked] = self.begins[number].uplink or "wired"
        self.ended.discard(asked)


def send(sender: Sender, packets: list[bytes]) -> Steered:
    sent = Steered()
    due = {round(part * len(packets)): (name, state) for part, name, state in STEERED}
    start = time.monotonic_ns()
    for number, packet in enumerate(packets):
        if number in due:
            name, state = due[number]
            sender.steer(name, state)
            # A replay knows milliseconds; this packet is the first of its own.
            time.sleep(0.002)
            milliseconds = (time.monotonic_ns() - start) // 1_000_000
            sent.events.append(f"{milliseconds}ms {name} {state}")
        sent.times.append(0 if not number else (time.monotonic_ns() - start) // 1000)
        sender.put(number, packet)
    return sent


def planned_events(count: int) -> Iterator[str]:
    for part, name, state in STEERED:
        yield f"{round(part * count) * TICK // 1_000_000}ms {name} {state}"


@pytest.mark.skipif(not captured.captures(), reason="no captures beside the project")
def test_uplinks_that_fail_meanwhile_change_the_same_flows_live_and_replayed(
    lab: StartLab, configuration: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "parity_methods.py").write_text(METHOD)
    # For this process, which reads the file, and for the service.
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    text = configuration(
        WEIGHTS, gateway='helpers = ["ftp"]', balancer=BALANCER, uplink=UPLINK, rules=RULES,
        more=BALANCERS,
    )  # fmt: skip
    gateway = lab(text, seed=SEED)
    open_up(gateway)
    for uplink in gateway.addresses.uplinks:
        gateway.gateway.sysctl(f"net.ipv4.conf.{uplink.interface}.rp_filter", 0)
    gateway.gateway.sysctl("net.ipv4.conf.all.rp_filter", 0)
    packets = traffic(gateway)
    planned, recorded = tmp_path / "planned.pcap", tmp_path / "recorded.pcap"
    captured.write(planned, packets, range(0, len(packets) * TICK // 1000, TICK // 1000))
    plan = replay(gateway.policy, planned, seed=SEED, at=planned_events(len(packets)))
    begins = {round((d.time - captured.START) * 1e9 / TICK): d for d in plan.decisions}
    with ExitStack() as open_wires, gateway.watch_connections() as begun:
        wires = {None: open_wires.enter_context(gateway.wire())}
        for uplink in gateway.addresses.uplinks:
            wires[uplink.name] = open_wires.enter_context(gateway.wire(uplink.interface))
        sent = send(Sender(gateway, wires, begins), packets)
        captured.write(recorded, packets, sent.times)
        report = replay(gateway.policy, recorded, seed=SEED, at=sent.events)
        wanted = [offline(decision) for decision in report.decisions]
        got = [live(gateway, connection) for connection in begun.wait_for(len(wanted))]
    assert first_difference(wanted, got) is None
    assert len(got) == len(wanted) > 250
    assert set(WEIGHTS) <= {begun[-1] for begun in got}
    assert {begun[0] for begun in got} == {captured.TCP, captured.UDP}
    used: dict[tuple[str | None, str], set[str | None]] = {}
    for decision in report.decisions:
        used.setdefault((decision.rule, decision.reason), set()).add(decision.uplink)
    assert {reason for _, reason in used} >= {"pinned", "related"}
    for rule, reason in EVERYWHERE:
        assert used[rule, reason] == set(WEIGHTS), f"{rule}: {reason}"
    assert used["by the host", "weighted"] == used["by the host", "sticky"] == {"wired", "wifi1"}
    assert used["by the pair of hosts", "sticky"]
    # Flows that were there when their uplink failed, and went on elsewhere.
    assert len(got) - len({begun[:-1] for begun in got}) >= 5


def first_difference(wanted: list[Begun], got: list[Begun]) -> str | None:
    for number, pair in enumerate(zip(wanted, got, strict=False)):
        if len({*pair}) > 1:
            return f"flow {number}: {pair[1]} live, {pair[0]} replayed"
    return None
