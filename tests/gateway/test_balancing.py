"""Shares: what each uplink gets is what its weight says, counted where flows arrive."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from distribution import outside_interval

from classifier.lab.deviation import largest_deviation
from classifier.lab.flows import TCP
from classifier.lab.packets import datagram
from classifier.lab.traffic import one_cpu

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

WEIGHTS = [
    {"wired": 1, "wifi1": 1},
    {"wired": 5, "wifi1": 2},
    {"wired": 34, "wifi1": 33, "wifi2": 33},
    {"wired": 5, "wifi1": 2, "wifi2": 1},
    {"wired": 1, "wifi1": 1, "wifi2": 1, "lte": 1, "fibre": 1},
    {"wired": 5, "wifi1": 2, "wifi2": 1, "lte": 5, "fibre": 2},
    # Here smooth weighted round robin alone, which looks only at who is most behind, is 1.04 off.
    {"wired": 1, "wifi1": 1, "wifi2": 1, "lte": 11, "fibre": 11},
]
RULES = """
[[rules]]
name = "names"
protocol = "udp"
to_ports = 53
use = "wired"
[[rules]]
name = "at home"
protocol = "udp"
to_ports = 99
use = "direct"
[[rules]]
name = "never"
protocol = "udp"
to_ports = 25
use = "drop"
"""


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda w: ":".join(map(str, w.values())))
def test_nth_is_within_one_flow_of_the_ideal_at_every_point(
    lab: StartLab, configuration: Configuration, weights: dict[str, int]
) -> None:
    gateway = lab(configuration(weights))
    flows = gateway.flows(400, "tcp", 8080)
    # One after the other, so that the order in which they were decided is known.
    taken = gateway.connect(flows, at_once=1)
    assert None not in taken.values()
    assert largest_deviation([str(taken[flow]) for flow in flows], weights) < 1
    status = gateway.status()
    assert {name: u["flows"] for name, u in status["uplinks"].items()} == Counter(taken.values())


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda w: ":".join(map(str, w.values())))
def test_nth_is_within_one_flow_at_every_point_while_hundreds_of_flows_begin_at_once(
    lab: StartLab, configuration: Configuration, weights: dict[str, int]
) -> None:
    # The service on one processor: before Linux 6.5 packets that two of them send may be swapped.
    with one_cpu():
        gateway = lab(configuration(weights))
    gateway.serve(TCP, 8080)
    # One of each to every ISP, so that no packet waits while the ISP's hardware address is asked
    # for: from here on flows leave in the order in which they were decided.
    first = gateway.connect(gateway.flows(sum(weights.values()), "tcp", 8080), at_once=1)
    assert Counter(map(str, first.values())) == weights
    gateway.tap.clear()
    lan, own = gateway.flows(400, "tcp", 8080), gateway.flows(300, "tcp", 8080, source=None)
    with ThreadPoolExecutor() as threads:
        of_gateway = threads.submit(gateway.connect, own, sender="gateway")
        taken = gateway.connect(lan) | of_gateway.result()
    assert None not in taken.values()
    arrived = gateway.tap.order()
    assert len(arrived) == 700
    assert largest_deviation([name for _, name in arrived], weights) < 1
    assert {seen.sport for seen, _ in arrived[:350]} & {flow.sport for flow in own}, "in turns"


def test_flows_that_need_no_turn_take_none(lab: StartLab, configuration: Configuration) -> None:
    """Pinned, direct, dropped, to a network that the gateway is in, and a flow's later packets."""
    weights = {"wired": 5, "wifi1": 2, "wifi2": 1}
    gateway = lab(configuration(weights, rules=RULES))
    gateway.tap.clear()
    order: list[str] = []
    near = str(gateway.addresses.uplink("wifi2").isp)
    for flow in gateway.flows(48, "tcp", 8080):
        (taken,) = gateway.connect([flow]).values()
        order.append(str(taken))
        assert set(gateway.ask(gateway.flows(1, "udp", 53)).values()) == {"wired"}
        assert set(gateway.ask(gateway.flows(1, "udp", 5353, to=near)).values()) == {"wifi2"}
        gateway.send(gateway.flows(1, "udp", 99), packets=2)
        gateway.send(gateway.flows(1, "udp", 25), packets=2)
    assert largest_deviation(order, weights) < 1
    gateway.tap.wait(lambda tap: sum(s.dport == 99 for s in tap.flows()) == 48)
    assert not any(seen.dport == 25 for seen in gateway.tap.flows()), "a dropped flow passed"
    status = gateway.status()
    assert status["rules"][0]["flows"] == 48
    assert status["direct"]["flows"] == 48
    assert status["rules"][-1]["flows"] == 48, "the flows that are to be shared out, and no others"


def test_flows_of_one_host_to_one_server_are_each_a_flow(
    lab: StartLab, configuration: Configuration
) -> None:
    """They differ in their source ports alone."""
    weights = {"wired": 3, "wifi1": 1}
    gateway = lab(configuration(weights))
    host = str(gateway.addresses.lans[0].hosts[5])
    for protocol in ("tcp", "udp"):
        flows = gateway.flows(100, protocol, 8080, to="198.18.7.7", source=host)
        assert Counter(gateway.connect(flows).values()) == {"wired": 75, "wifi1": 25}


def test_what_does_not_leave_by_an_uplink_is_not_asked_about(
    lab: StartLab, configuration: Configuration
) -> None:
    """To an address of the gateway, to one beside it on a link, to all hosts, to a group."""
    gateway = lab(configuration({"wired": 1, "wifi1": 1}), service=False)
    gateway.gateway.run(["ip", "address", "add", "203.0.113.7/32", "dev", "lo"])
    gateway.start_service()
    gateway.serve(TCP, 2222, at="gateway")
    addresses = gateway.addresses
    own = ["203.0.113.7", str(addresses.uplink("wifi1").own), str(addresses.lans[0].gateway)]
    to_gateway = gateway.connect(gateway.flows(6, "tcp", 2222, to=own))
    assert set(to_gateway.values()) == {"gateway"}
    near = str(addresses.uplink("wifi1").isp)
    assert set(gateway.connect(gateway.flows(4, "tcp", 8080, to=near)).values()) == {"wifi1"}
    everybody = gateway.flows(4, "udp", 67, to=["255.255.255.255", "224.0.0.251"])
    gateway.inject(datagram(flow) for flow in everybody)
    assert set(gateway.ask(gateway.flows(1, "udp", 5353)).values()) == {"wired"}, "the first turn"
    assert gateway.status()["queue"]["packets"] == 1


@pytest.mark.parametrize("weights", WEIGHTS[2:5:2], ids=lambda w: ":".join(map(str, w.values())))
def test_weighted_lies_within_the_interval_of_independent_draws(
    lab: StartLab, configuration: Configuration, weights: dict[str, int]
) -> None:
    gateway = lab(configuration(weights, method="weighted"), seed=3)
    flows = gateway.flows(4000, "tcp", 8080)
    taken = gateway.connect(flows)
    assert None not in taken.values()
    assert outside_interval(Counter(map(str, taken.values())), weights) == []
    # Independent draws: what the last flow took says nothing about the next.
    order = [str(taken[flow]) for flow in flows]
    total = sum(weights.values())
    after = Counter(two for one, two in pairwise(order) if one == "wired")
    assert outside_interval(after, weights) == []
    assert abs(after.total() / len(flows) - weights["wired"] / total) < 0.05


def test_hash_keeps_a_remote_on_its_uplink_and_moves_only_flows_of_one_that_goes_away(
    lab: StartLab, configuration: Configuration
) -> None:
    weights = {"wired": 3, "wifi1": 1, "wifi2": 1}
    text = configuration(weights, method="hash").replace(
        'gateway = "192.0.4.1"', 'gateway = "auto"'
    )
    gateway = lab(text, seed=7)
    remotes = [flow.dst for flow in gateway.flows(300, "tcp", 8080)]

    def visit() -> dict[str, str]:
        flows = gateway.flows(len(remotes), "tcp", 8080, to=remotes)
        return {flow.dst: str(name) for flow, name in gateway.connect(flows).items()}

    before = visit()
    assert outside_interval(Counter(before.values()), weights) == []
    assert visit() == before, "a remote is on another uplink at its second visit"

    assert gateway.stop_service() == 0
    gateway.gateway.run(["ip", "route", "del", "default", "dev", "eth2"])
    gateway.start_service("--seed", "7")
    after = visit()
    assert gateway.status()["uplinks"]["wifi2"]["state"] == "down"
    assert "wifi2" not in after.values()
    stayed = {remote: name for remote, name in before.items() if name != "wifi2"}
    assert {remote: after[remote] for remote in stayed} == stayed
