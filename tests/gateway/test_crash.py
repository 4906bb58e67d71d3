"""A service that is killed, started again, stopped: flows go on, and the host is as it was."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from host_snapshots import shell, snapshot

from classifier.lab.limits import scaled

if TYPE_CHECKING:
    from conftest import Configuration, StartLab, UseIptables

    from classifier.host.iptables.programs import Variant
    from classifier.lab.flows import FiveTuple
    from classifier.lab.lab import Lab
    from classifier.lab.traffic import Connection

WEIGHTS = {"wired": 1, "wifi1": 1}
FOREIGN = """
iptables -t mangle -N theirs
iptables -t mangle -A theirs -p tcp --dport 9 -j MARK --set-xmark 0x10000/0x10000
iptables -t mangle -A PREROUTING -j theirs
iptables -A FORWARD -p udp --dport 9 -j ACCEPT
ip rule add pref 30000 from 203.0.113.0/24 lookup 300
ip route add 203.0.113.0/24 dev lan0 table 300
sysctl -qw net.ipv4.conf.eth1.rp_filter=1
"""


@contextmanager
def open_connections(gateway: Lab, count: int) -> Iterator[list[Connection]]:
    """TCP connections that are closed whatever happens: one that is left to the garbage collector
    would be held against the next test."""
    with ExitStack() as stack:
        flows = gateway.flows(count, "tcp", 8080)
        yield [stack.enter_context(gateway.open(flow)) for flow in flows]


def places(connections: list[Connection]) -> list[str | None]:
    return [connection.uplink for connection in connections]


class SteadyTraffic:
    """Flows that began before, asked again and again by a thread until the block ends.

    UDP flows notice a single answer that is lost; of TCP, which would send again, the kernel's
    count of segments that were is looked at.
    """

    def __init__(self, gateway: Lab, questions: list[FiveTuple]) -> None:
        self._gateway = gateway
        self._questions = questions
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.rounds: list[dict[FiveTuple, str | None]] = []

    def __enter__(self) -> SteadyTraffic:
        self._resent = self._segments_resent()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def wait_for_rounds(self, count: int) -> None:
        wanted = len(self.rounds) + count
        deadline = time.monotonic() + scaled(10)
        while len(self.rounds) < wanted:
            assert time.monotonic() < deadline, "the traffic came to a halt"
            time.sleep(0.005)

    def segments_resent(self) -> int:
        return self._segments_resent() - self._resent

    def _ask(self) -> None:
        while not self._ended.is_set():
            self.rounds.append(self._gateway.ask(self._questions))
            # New flows all the time, too, but not so many that the queue overflows while a service
            # that gets little of a busy machine starts: what overflows is nobody's decision, also
            # when the flow's first packet waits for one.
            self._gateway.send(self._gateway.flows(4, "udp", 5000), packets=3)

    def _segments_resent(self) -> int:
        names, values = (
            line.split()
            for line in self._gateway.lan.run(["cat", "/proc/net/snmp"]).stdout.splitlines()
            if line.startswith("Tcp:")
        )
        return int(values[names.index("RetransSegs")])


def test_killed_under_traffic_flows_go_on_and_a_new_start_takes_over(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    shell(gateway.gateway, FOREIGN)
    before = snapshot(gateway.gateway)
    gateway.start_service()
    as_started = snapshot(gateway.gateway)
    with open_connections(gateway, 10) as running:
        go_on_through_a_crash(gateway, running, as_started)
    assert gateway.stop_service() == 0
    assert snapshot(gateway.gateway) == before


def go_on_through_a_crash(
    gateway: Lab, running: list[Connection], as_started: dict[str, list[str]]
) -> None:
    assert sorted(map(str, places(running))) == ["wifi1"] * 5 + ["wired"] * 5
    questions = gateway.flows(10, "udp", 5353)
    taken = gateway.ask(questions)
    assert sorted(map(str, taken.values())) == ["wifi1"] * 5 + ["wired"] * 5
    gateway.tap.clear()

    with SteadyTraffic(gateway, questions) as traffic:
        traffic.wait_for_rounds(2)
        gateway.service.kill()
        assert all(connection.echo() == b"still there?" for connection in running)
        traffic.wait_for_rounds(2)
        orphans = gateway.flows(20, "tcp", 8080) + gateway.flows(20, "udp", 5353)
        assert set(gateway.connect(orphans).values()) == {"wired"}, "new flows pass as direct"
        gateway.start_service()
        assert all(connection.echo() == b"still there?" for connection in running)
        traffic.wait_for_rounds(2)
        assert set(gateway.connect(orphans[20:]).values()) == {"wired"}, "a direct flow was moved"
        assert traffic.segments_resent() == 0
    assert traffic.rounds == [taken] * len(traffic.rounds), "an answer was lost or went astray"
    assert gateway.tap.split_flows() == []
    assert snapshot(gateway.gateway) == as_started, "the new start left something, or lacks it"
    by_uplink = {name: {c.flow for c in running if c.uplink == name} for name in WEIGHTS}
    for name, flows in by_uplink.items():
        assert set(gateway.tap.uplinks(flows).values()) == {frozenset({name})}

    fresh = gateway.connect(gateway.flows(20, "tcp", 8080))
    assert set(fresh.values()) == set(WEIGHTS), "the new start does not classify"


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_down_removes_what_a_killed_service_left_to_the_byte(
    lab: StartLab, configuration: Configuration, use_iptables: UseIptables, variant: Variant
) -> None:
    use_iptables(variant)
    text = configuration(WEIGHTS, gateway='helpers = ["ftp"]', uplink='gateway6 = "fe80::1"')
    gateway = lab(text, service=False)
    shell(gateway.gateway, FOREIGN)
    if variant == "legacy":
        # This kernel side keeps a table, once used, until the namespace ends.
        for program in ("iptables-legacy", "ip6tables-legacy"):
            for table in ("raw", "mangle", "nat"):
                gateway.gateway.run([program, "-w", "-t", table, "-nL"])
    before = snapshot(gateway.gateway)
    gateway.start_service()
    gateway.connect(gateway.flows(20, "tcp", 8080))
    gateway.service.kill()
    assert snapshot(gateway.gateway) != before
    gateway.service.command("down", str(gateway.service.config))
    assert snapshot(gateway.gateway) == before
    gateway.service.command("down", str(gateway.service.config))  # again: nothing to do, no error
    assert snapshot(gateway.gateway) == before


def test_a_stop_under_traffic_loses_no_packet_that_waits(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    assert set(gateway.connect(gateway.flows(10, "tcp", 8080)).values()) == set(WEIGHTS)
    gateway.tap.clear()
    gateway.service.signal(signal.SIGSTOP)
    gateway.send(gateway.flows(500, "udp", 5000))
    gateway.service.signal(signal.SIGTERM)
    gateway.service.signal(signal.SIGCONT)
    assert gateway.service.stop() == 0
    gateway.tap.wait_for_packets(500)


@pytest.mark.parametrize("what", ["restart", "upgrade"])
def test_a_restart_that_keeps_the_state_interrupts_no_established_flow(
    lab: StartLab, configuration: Configuration, what: str
) -> None:
    gateway = lab(configuration(WEIGHTS), "--keep")
    questions = gateway.flows(10, "udp", 5353)
    answers = gateway.ask(questions)
    with open_connections(gateway, 20) as running:
        with SteadyTraffic(gateway, questions) as traffic:
            traffic.wait_for_rounds(2)
            assert gateway.stop_service() == 0
            traffic.wait_for_rounds(2)
            if what == "upgrade":  # by one that wants another rule and names it otherwise
                text = configuration(WEIGHTS, rules='[[rules]]\nto = "203.0.113.9"\nuse = "wired"')
                gateway.service.config.write_text(text)
            gateway.start_service("--keep")
            assert [connection.echo() for connection in running] == [b"still there?"] * 20
            traffic.wait_for_rounds(2)
            assert traffic.segments_resent() == 0
        assert traffic.rounds == [answers] * len(traffic.rounds), "an answer was lost"
    assert set(gateway.connect(gateway.flows(20, "tcp", 8080)).values()) == set(WEIGHTS)


def test_uplink_ids_are_the_same_after_a_restart_with_another_order(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration({"wired": 1, "wifi1": 1}))
    before = {name: (u["id"], u["mark"]) for name, u in gateway.status()["uplinks"].items()}
    gateway.stop_service()
    text = gateway.service.config.read_text()
    cuts = [text.index(f"[{t}]") for t in ("uplinks.wired", "uplinks.wifi1", "balancers.all")]
    wired, wifi = text[cuts[0] : cuts[1]], text[cuts[1] : cuts[2]]
    gateway.service.config.write_text(text.replace(wired + wifi, wifi + wired))
    gateway.start_service()
    after = {name: (u["id"], u["mark"]) for name, u in gateway.status()["uplinks"].items()}
    assert list(after) == ["wifi1", "wired"]
    assert after == before
