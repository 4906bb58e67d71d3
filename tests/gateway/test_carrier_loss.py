"""An uplink loses its carrier under load: new flows avoid it at once, and nothing else suffers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from host_service import eventually
from host_snapshots import shell
from pyroute2.netlink import rtnl

from classifier.lab.limits import scaled
from classifier.lab.packets import datagram
from classifier.lab.topology import ISP_INTERFACE
from classifier.service.link_change import link_change

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.connections import NewConnections
    from classifier.lab.flows import FiveTuple
    from classifier.lab.lab import Lab
    from classifier.lab.namespace import Namespace

WEIGHTS = {"wired": 1, "wifi1": 1, "wifi2": 1}
RATE = 2000 / scaled(1.0)
PROMISED = scaled(0.05)
FOREIGN = (0, 0x10000)
"""Marks of connections that are none of ours."""


class Sender:
    """The first packets of new flows, `RATE` per second, and when each one was sent."""

    def __init__(self, gateway: Lab, flows: Sequence[FiveTuple]) -> None:
        self._packets = [datagram(flow) for flow in flows]
        self._wire = gateway.wire()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send, name="sender")
        self.sent: list[float] = []
        """Monotonic seconds, in the order of the flows."""
        self.late: list[float] = []
        """Seconds that each packet left later than it could: when it was due and the one before
        had left: how busy the machine is."""

    def _send(self) -> None:
        begun = last = time.monotonic()
        for number, packet in enumerate(self._packets):
            due = begun + number / RATE
            if (pause := due - time.monotonic()) > 0:
                time.sleep(pause)
            if self._ended.is_set():
                break
            now = time.monotonic()
            self._wire.put(packet)
            self.sent.append(now)
            self.late.append(now - max(due, last))
            last = now

    @contextmanager
    def running(self) -> Iterator[Sender]:
        with closing(self._wire):
            self._thread.start()
            try:
                yield self
            finally:
                self.stop()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def carrier_events(host: Namespace) -> Iterator[socket.socket]:
    """A socket that hears of links as the service does, and reads none before it is asked to."""
    with host.enter():
        listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    with listener:
        listener.bind((0, rtnl.RTMGRP_LINK))
        listener.settimeout(scaled(30.0))
        yield listener


def lost_at(listener: socket.socket, interface: str) -> float:
    """When the kernel told that the interface has no carrier: monotonic seconds."""
    while True:
        change = link_change(memoryview(listener.recv(8192)))
        if change and change.name == interface and not change.carrier:
            return time.monotonic()


def waited(gateway: Lab) -> float:
    """Seconds that the service's threads have waited for a processor so far, all together
    (Documentation/scheduler/sched-stats.rst)."""
    threads = Path(f"/proc/{gateway.service.process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[1]) for task in threads) / 1e9


def add_foreign(gateway: Lab) -> None:
    """Connections of others: with other mark bits alone, with none, and beside those of wired."""
    for number, mark in enumerate((*FOREIGN, 0x10000 | 0x100)):
        words = f"-p udp --sport {100 + number} --dport 9 -t 600 -m {mark}"
        gateway.gateway.run(f"conntrack -I -s 10.99.0.1 -d 10.99.0.2 {words}".split())


def keep_looking(gateway: Lab) -> None:
    """So many changes, one after the other, that the service looks at the host only every half
    second, as when a cable is plugged in badly or a VPN is set up."""
    change = "ip rule add pref 9 lookup 9; sleep 0.05; ip rule del pref 9; sleep 0.05\n"
    shell(gateway.gateway, change * 4)


def marks_of(gateway: Lab, port: int) -> dict[int, int]:
    """Source port to mark, of the connections to a port."""
    return {c.sport: c.mark for c in gateway.connections() if c.dport == port}


def placed_by(seen: NewConnections) -> dict[int, int]:
    """Source port to mark of the sender's flows that have begun so far."""
    return {entry.sport: entry.mark for entry in seen.wait_for(0) if entry.dport == 5000}


def test_no_new_flow_is_placed_on_an_uplink_50_ms_after_it_lost_its_carrier(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    marks = {u.name: gateway.policy.mark(u) for u in gateway.policy.uplinks}
    flows = gateway.flows(8000, "udp", 5000)
    with ExitStack() as undo:
        opened = [undo.enter_context(gateway.open(f)) for f in gateway.flows(6, "tcp", 8080)]
        add_foreign(gateway)
        seen = undo.enter_context(gateway.watch_connections())
        listener = undo.enter_context(carrier_events(gateway.gateway))
        sender = undo.enter_context(Sender(gateway, flows).running())
        keep_looking(gateway)
        before = waited(gateway)
        shell(gateway.isps["wifi1"], f"ip link set {ISP_INTERFACE} down")
        lost = lost_at(listener, "eth1")
        eventually(lambda: sender.sent[-1] > lost + 2 * PROMISED, "the promised time is over")
        service_waited = waited(gateway) - before
        eventually(lambda: sender.sent[-1] > lost + scaled(1.0), "flows are sent afterwards")
        sender.stop()

        busy = service_waited + max(
            late
            for late, when in zip(sender.late, sender.sent, strict=True)
            if abs(when - lost) < 2 * PROMISED
        )
        flows_of = dict(zip((flow.sport for flow in flows), sender.sent, strict=False))
        later = {sport for sport, when in flows_of.items() if when > lost + PROMISED + busy}
        eventually(lambda: later <= placed_by(seen).keys(), "later flows have begun")
        placed = placed_by(seen)
        # Packets that were decided, and not sent yet, when the route went: UDP sends none again.
        gone = [when - lost for sport, when in flows_of.items() if sport not in placed]
        assert [late for late in gone if abs(late) > PROMISED + busy] == []
        after = {placed[sport] for sport in later}
        assert after == {marks["wired"], marks["wifi2"]}

        eventually(
            lambda: marks["wifi1"] not in marks_of(gateway, 8080).values(), "wifi1 is flushed"
        )
        assert set(marks_of(gateway, 9).values()) == {*FOREIGN, 0x10000 | 0x100}
        kept = marks_of(gateway, 5000)
        others = {s for s in flows_of if placed.get(s) in (marks["wired"], marks["wifi2"])}
        assert others <= kept.keys()
        assert [c.echo() for c in opened if c.uplink != "wifi1"] == [b"still there?"] * 4

    shell(gateway.isps["wifi1"], f"ip link set {ISP_INTERFACE} up")
    eventually(lambda: gateway.status()["uplinks"]["wifi1"]["state"] == "up", "wifi1 is up again")
    taken = list(gateway.connect(gateway.flows(9, "tcp", 8080)).values())
    assert taken.count("wifi1") == 3
