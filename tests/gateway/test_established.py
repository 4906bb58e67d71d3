"""Established flows are the kernel's alone: the queue never sees them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

WEIGHTS = {"wired": 1, "wifi1": 1}
PACKETS = 1_000_000


def test_a_million_packets_of_one_flow_do_not_reach_the_queue(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    gateway.connect(gateway.flows(1, "tcp", 8080))  # so that the next one is not on the default
    (flow,) = gateway.flows(1, "udp", 5000)
    (taken,) = gateway.ask([flow]).values()
    assert taken == "wifi1"
    before = gateway.status()["queue"]["packets"]
    counted = ["-m", "udp", "-p", "udp", "--dport", "5000", "-o", "eth1"]
    gateway.gateway.run(["iptables", "-w", "-I", "FORWARD", *counted])
    gateway.send([flow], packets=PACKETS)
    listed = gateway.gateway.run(["iptables", "-w", "-nvxL", "FORWARD"]).stdout
    assert int(listed.splitlines()[2].split()[0]) == PACKETS
    assert gateway.status()["queue"]["packets"] == before
