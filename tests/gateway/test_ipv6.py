"""IPv6 flows use the uplinks that have IPv6, and are shared, remembered and answered alike."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

WEIGHTS = {"wired": 2, "wifi1": 1}
GATEWAY6 = 'gateway6 = "fe80::1"'


def test_ipv6_flows_are_balanced_masqueraded_and_answered(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, uplink=GATEWAY6))
    gateway.tap.clear()
    flows = gateway.flows(90, "tcp", 8080, family=6)
    assert Counter(gateway.connect(flows).values()) == {"wired": 60, "wifi1": 30}
    questions = gateway.flows(90, "udp", 5353, family=6)
    assert Counter(gateway.ask(questions).values()) == {"wired": 60, "wifi1": 30}
    sources = {(name, s.src) for s, uplinks in gateway.tap.flows().items() for name in uplinks}
    assert sources == {(u.name, str(u.own6)) for u in gateway.addresses.uplinks}


def test_own_ipv6_flows_are_balanced_and_answered(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, uplink=GATEWAY6))
    flows = gateway.flows(90, "tcp", 8080, source=None, family=6)
    taken = gateway.connect(flows, sender="gateway")
    assert Counter(taken.values()) == {"wired": 60, "wifi1": 30}


def test_an_uplink_without_ipv6_takes_no_ipv6_flow(
    lab: StartLab, configuration: Configuration
) -> None:
    text = configuration(WEIGHTS).replace("weight = 2", f"weight = 2\n{GATEWAY6}")
    gateway = lab(text)
    assert set(gateway.connect(gateway.flows(30, "tcp", 80, family=6)).values()) == {"wired"}
    # Not only because there is no other way: no flow was placed on the other.
    wired = gateway.policy.mark(gateway.policy.uplink("wired"))
    assert {c.mark for c in gateway.connections("ipv6") if c.dport == 80} == {wired}
    assert gateway.status()["uplinks"]["wifi1"]["flows"] == 0
    taken = gateway.connect(gateway.flows(30, "tcp", 80))
    assert Counter(taken.values()) == {"wired": 20, "wifi1": 10}


def test_ten_ipv6_packets_back_to_back_leave_by_one_uplink(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, uplink=GATEWAY6))
    gateway.tap.clear()
    flows = gateway.flows(200, "udp", 5000, family=6)
    gateway.send(flows, packets=10)
    gateway.tap.wait(lambda tap: all(tap.uplinks(flows).values()), what="a packet of every flow")
    gateway.tap.wait_until_quiet()
    assert gateway.tap.split_flows() == []
