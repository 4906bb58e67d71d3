"""Connections that come in on an uplink are answered on it, and move no counter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from classifier.lab.deviation import largest_deviation
from classifier.lab.flows import TCP, UDP, FiveTuple
from classifier.lab.limits import scaled
from classifier.lab.packets import datagram

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}


PROTOCOLS = {"tcp": TCP, "udp": UDP}
both_protocols = pytest.mark.parametrize("protocol", PROTOCOLS)


def arrive(
    gateway: Lab, protocol: str, port: int, *, family: int = 4, count: int = 5
) -> list[str | None]:
    """Flows from the internet behind the second uplink to its address here."""
    uplink = gateway.addresses.uplink("wifi1")
    own, remote = (uplink.own, "198.18.9.9") if family == 4 else (uplink.own6, "2001:2::99")
    flows = gateway.flows(count, protocol, port, to=str(own), source=remote)
    return list(gateway.connect(flows, sender="wifi1").values())


def counters_stood_still(gateway: Lab) -> None:
    status = gateway.status()
    assert status["queue"]["packets"] == 0
    assert [uplink["flows"] for uplink in status["uplinks"].values()] == [0, 0]
    assert status["direct"]["flows"] == 0
    flows = gateway.flows(20, "tcp", 8080)
    taken = gateway.connect(flows, at_once=1)
    order = [str(taken[flow]) for flow in flows]
    assert order[0] == "wired"
    assert largest_deviation(order, WEIGHTS) < 1


def forward(gateway: Lab, protocol: str) -> None:
    """Port 8443 of the second uplink leads to port 9443 of a host of the LAN."""
    server = str(next(gateway.addresses.lans[0].hosts.hosts()))
    match = ["-i", "eth1", "-p", protocol, "--dport", "8443"]
    rule = [*match, "-j", "DNAT", "--to", f"{server}:9443"]
    gateway.gateway.run(["iptables", "-w", "-t", "nat", "-A", "PREROUTING", *rule])
    gateway.serve(PROTOCOLS[protocol], 9443, at="lan")


@both_protocols
def test_a_flow_to_the_gateway_is_answered_on_the_uplink_it_came_by(
    lab: StartLab, configuration: Configuration, protocol: str
) -> None:
    gateway = lab(configuration(WEIGHTS))
    gateway.serve(PROTOCOLS[protocol], 2222, at="gateway")
    gateway.tap.clear()
    assert arrive(gateway, protocol, 2222) == ["gateway"] * 5
    assert set(gateway.tap.packets()) == {"wired", "wifi1"}
    assert gateway.tap.packets()["wired"] == 0, "an answer left by the other uplink"
    counters_stood_still(gateway)


def test_an_ipv6_flow_to_the_gateway_is_answered_on_the_uplink_it_came_by(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, uplink='gateway6 = "fe80::1"'))
    for protocol, number in PROTOCOLS.items():
        gateway.serve(number, 2222, 6, at="gateway")
        assert arrive(gateway, protocol, 2222, family=6) == ["gateway"] * 5
    counters_stood_still(gateway)


@both_protocols
def test_a_gateway_whose_own_flows_are_not_classified_answers_the_same_way(
    lab: StartLab, configuration: Configuration, protocol: str
) -> None:
    gateway = lab(configuration(WEIGHTS, gateway="local = false"))
    gateway.serve(PROTOCOLS[protocol], 2222, at="gateway")
    assert arrive(gateway, protocol, 2222) == ["gateway"] * 5


@both_protocols
def test_a_forwarded_port_is_answered_on_the_uplink_it_came_by(
    lab: StartLab, configuration: Configuration, protocol: str
) -> None:
    gateway = lab(configuration(WEIGHTS))
    forward(gateway, protocol)
    assert arrive(gateway, protocol, 8443) == ["lan"] * 5
    counters_stood_still(gateway)


def test_without_a_default_route_in_main_flows_in_and_out_find_their_way_back(
    lab: StartLab, configuration: Configuration
) -> None:
    """The reverse path filter then finds the way to a remote only by the mark."""
    gateway = lab(configuration(WEIGHTS), service=False)
    gateway.gateway.run(["ip", "route", "del", "default"])
    gateway.start_service()
    forward(gateway, "tcp")
    gateway.serve(TCP, 2222, at="gateway")
    assert arrive(gateway, "tcp", 8443) == ["lan"] * 5
    assert arrive(gateway, "tcp", 2222) == ["gateway"] * 5
    counters_stood_still(gateway)


def test_answers_that_come_in_by_another_uplink_reach_the_lan(
    lab: StartLab, configuration: Configuration
) -> None:
    """Without masquerading nothing ties an answer to the uplink that the question left by."""
    gateway = lab(configuration(WEIGHTS, uplink="masquerade = false"))
    gateway.tap.clear()
    (flow,) = gateway.flows(1, "udp", 5000)
    gateway.send([flow])
    gateway.tap.wait_for_packets(1)
    assert gateway.tap.uplinks([flow]) == {flow: {"wired"}}
    match = ["-i", "eth1", "-o", "lan0", "-p", "udp", "--sport", "5000"]
    gateway.gateway.run(["iptables", "-w", "-I", "FORWARD", *match])
    answer = datagram(FiveTuple(UDP, flow.dst, flow.dport, str(flow.src), flow.sport))
    with gateway.wire("eth1") as wire:
        for _ in range(3):
            wire.put(answer)
    deadline = time.monotonic() + scaled(5)
    while (forwarded := packets_of_first_rule(gateway)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert forwarded == 3
    gateway.send([flow])
    gateway.tap.wait_for_packets(2)
    assert gateway.tap.uplinks([flow]) == {flow: {"wired"}}
    assert gateway.status()["queue"]["packets"] == 1


def packets_of_first_rule(gateway: Lab) -> int:
    listed = gateway.gateway.run(["iptables", "-w", "-nvxL", "FORWARD"]).stdout
    return int(listed.splitlines()[2].split()[0])
