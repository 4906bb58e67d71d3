"""The 2005 how-to: home networks and some ports stay on the wire, the rest is balanced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distribution import deviation

from classifier.lab.packets import datagram

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

WEIGHTS = {"wired": 34, "wifi1": 33, "wifi2": 33}
EXCLUDED_TCP = [21, 22, 80, 443, 6667]
RULES = """
[[rules]]
name = "home networks"
to = ["192.168.0.0/16", "10.0.0.0/8"]
use = "wired"
[[rules]]
name = "interactive"
protocol = "tcp"
to_ports = [21, 22, 80, 443, 6667]
use = "wired"
[[rules]]
name = "dns"
protocol = "udp"
to_ports = 53
use = "wired"
"""


def test_excluded_ports_and_networks_leave_by_the_wire_and_the_rest_is_balanced(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, rules=RULES))
    home = gateway.flows(60, "tcp", 8080, to=["192.168.44.7", "10.200.3.4"])
    ports = gateway.flows(100, "tcp", EXCLUDED_TCP)
    dns = gateway.flows(40, "udp", 53)
    rest = gateway.flows(300, "tcp", [81, 444, 8080])
    rest_udp = gateway.flows(99, "udp", [123, 4500])

    excluded = {**gateway.connect([*home, *ports]), **gateway.ask(dns)}
    assert set(excluded.values()) == {"wired"}
    assert len(excluded) == 200

    balanced = {**gateway.connect(rest), **gateway.ask(rest_udp)}
    counts = {name: list(balanced.values()).count(name) for name in WEIGHTS}
    assert sum(counts.values()) == len(balanced)
    assert deviation(counts, WEIGHTS) < 1
    rules = {rule["name"]: rule["flows"] for rule in gateway.status()["rules"]}
    assert rules == {"home networks": 60, "interactive": 100, "dns": 40, "the rest": 399}


def test_a_port_of_the_other_protocol_is_not_excluded(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration({"wired": 1, "wifi1": 1}, rules=RULES))
    tcp_dns = gateway.connect(gateway.flows(40, "tcp", 53))
    udp_https = gateway.ask(gateway.flows(40, "udp", 443))
    for taken in (tcp_dns, udp_https):
        assert sorted(map(str, taken.values())) == ["wifi1"] * 20 + ["wired"] * 20


def test_direct_flows_stay_on_main_s_default_route_and_are_asked_about_once(
    lab: StartLab, configuration: Configuration
) -> None:
    rules = '[[rules]]\nname = "telemetry"\nprotocol = "udp"\nto_ports = 9999\nuse = "direct"'
    gateway = lab(configuration({"wired": 1, "wifi1": 1}, rules=rules))
    gateway.tap.clear()
    (flow,) = gateway.flows(1, "udp", 9999)
    for number in range(1, 21):
        gateway.send([flow])
        gateway.tap.wait_for_packets(number)
    assert gateway.tap.uplinks([flow]) == {flow: frozenset({"wired"})}
    status = gateway.status()
    assert status["queue"]["packets"] == 1, "a one-way flow that is direct came to the queue again"
    assert status["direct"]["flows"] == 1


def test_a_rule_for_an_interface_takes_the_flows_that_come_in_there(
    lab: StartLab, configuration: Configuration
) -> None:
    rules = '[[rules]]\nname = "guests"\nin_interface = "lan1"\nuse = "wifi1"'
    text = configuration({"wired": 1, "wifi1": 1, "wifi2": 1}, rules=rules)
    gateway = lab(text.replace('lan = ["lan0"]', 'lan = ["lan0", "lan1"]'))
    guests = [str(host) for host in list(gateway.addresses.lans[1].hosts)[1:4]]
    # By hand on the guests' wire: every LAN of the lab is one namespace, with one way out.
    flows = gateway.flows(30, "udp", 5000, source=guests)
    gateway.tap.clear()
    gateway.inject([datagram(flow) for flow in flows], "lan1")
    gateway.tap.wait_for_packets(30)
    assert set(gateway.tap.uplinks(flows).values()) == {frozenset({"wifi1"})}
    rest = gateway.connect(gateway.flows(30, "tcp", 8080))
    assert sorted(map(str, rest.values())) == ["wifi1"] * 10 + ["wifi2"] * 10 + ["wired"] * 10
    own = gateway.connect(gateway.flows(30, "tcp", 8080, source=None), sender="gateway")
    assert sorted(map(str, own.values())) == ["wifi1"] * 10 + ["wifi2"] * 10 + ["wired"] * 10
