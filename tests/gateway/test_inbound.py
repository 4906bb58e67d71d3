"""Connections that come in on an uplink are answered on it, and move no counter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from classifier.lab.shares import largest_deviation

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}


def arrive(gateway: Lab, port: int, count: int = 5) -> list[str | None]:
    """Connections from the internet behind the second uplink to its address here."""
    own = str(gateway.addresses.uplink("wifi1").own)
    flows = gateway.flows(count, "tcp", port, to=own, source="198.18.9.9")
    return list(gateway.connect(flows, place="wifi1").values())


def counters_stood_still(gateway: Lab) -> None:
    status = gateway.status()
    assert status["queue"]["packets"] == 0
    assert [uplink["flows"] for uplink in status["uplinks"].values()] == [0, 0]
    flows = gateway.flows(20, "tcp", 8080)
    taken = gateway.connect(flows, at_once=1)
    order = [str(taken[flow]) for flow in flows]
    assert order[0] == "wired"
    assert largest_deviation(order, WEIGHTS) < 1


def test_a_connection_to_the_gateway_is_answered_on_the_uplink_it_came_by(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    gateway.serve(6, 2222, at="gateway")
    assert arrive(gateway, 2222) == ["gateway"] * 5
    counters_stood_still(gateway)


def test_a_gateway_whose_own_flows_are_not_classified_answers_the_same_way(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, gateway="local = false"))
    gateway.serve(6, 2222, at="gateway")
    assert arrive(gateway, 2222) == ["gateway"] * 5


def test_a_forwarded_port_is_answered_on_the_uplink_it_came_by(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    server = str(next(gateway.addresses.lans[0].hosts.hosts()))
    forward = ["-i", "eth1", "-p", "tcp", "--dport", "8443", "-j", "DNAT", "--to", f"{server}:9443"]
    gateway.gateway.run(["iptables", "-w", "-t", "nat", "-A", "PREROUTING", *forward])
    gateway.serve(6, 9443, at="lan")
    assert arrive(gateway, 8443) == ["lan"] * 5
    counters_stood_still(gateway)
