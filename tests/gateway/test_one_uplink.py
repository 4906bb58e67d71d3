"""One flow, one uplink: also while many packets of it wait for the first answer."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from classifier.lab.packets import syn

if TYPE_CHECKING:
    from conftest import Configuration, StartLab


WEIGHTS = {"wired": 34, "wifi1": 33, "wifi2": 33}
METHODS = ["nth", "weighted", "hash"]
BACKENDS = ["native", "netfilterqueue"]


def test_the_queue_holds_many_packets_of_a_flow_at_once(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    gateway.tap.clear()
    gateway.service.signal(signal.SIGSTOP)
    gateway.send(gateway.flows(200, "udp", 5000), packets=10)
    waiting = gateway.gateway.run(["cat", "/proc/net/netfilter/nfnetlink_queue"]).stdout.split()[2]
    gateway.service.signal(signal.SIGCONT)
    assert int(waiting) == 2000
    gateway.tap.wait_for_packets(2000)
    assert gateway.tap.split_flows() == []
    assert gateway.status()["queue"]["in-flight"] == 1800
    assert sum(u["flows"] for u in gateway.status()["uplinks"].values()) == 200


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("masquerade", ["true", "false"], ids=["masqueraded", "routed"])
@pytest.mark.parametrize("method", METHODS)
def test_ten_packets_back_to_back_leave_by_one_uplink(
    lab: StartLab, configuration: Configuration, method: str, masquerade: str, backend: str
) -> None:
    text = configuration(
        WEIGHTS,
        method=method,
        uplink=f"masquerade = {masquerade}",
        more=f'[queue]\nbackend = "{backend}"',
    )
    gateway = lab(text)
    gateway.tap.clear()
    flows = gateway.flows(200, "udp", 5000)
    gateway.send(flows, packets=10)
    gateway.tap.wait_until_quiet()
    assert gateway.tap.split_flows() == []
    taken = gateway.tap.uplinks(flows)
    assert all(len(uplinks) == 1 for uplinks in taken.values()), "a flow was lost"
    assert {name for uplinks in taken.values() for name in uplinks} == set(WEIGHTS)
    seen = gateway.tap.flows()
    if masquerade == "false":
        assert gateway.tap.packets().total() == 2000
        assert {s.src for s in seen} == {flow.src for flow in flows}
    else:
        own = {uplink.name: str(uplink.own) for uplink in gateway.addresses.uplinks}
        assert all({s.src} == {own[name] for name in uplinks} for s, uplinks in seen.items())
    placed = {name: uplink["flows"] for name, uplink in gateway.status()["uplinks"].items()}
    assert placed == Counter(name for uplinks in taken.values() for name in uplinks)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("masquerade", ["true", "false"], ids=["masqueraded", "routed"])
@pytest.mark.parametrize("method", METHODS)
def test_two_syns_of_one_connection_leave_by_one_uplink(
    lab: StartLab, configuration: Configuration, method: str, masquerade: str, backend: str
) -> None:
    text = configuration(
        WEIGHTS,
        method=method,
        uplink=f"masquerade = {masquerade}",
        more=f'[queue]\nbackend = "{backend}"',
    )
    gateway = lab(text)
    gateway.tap.clear()
    flows = gateway.flows(100, "tcp", 8080)
    gateway.inject(syn(flow) for flow in flows for _ in range(2))
    gateway.tap.wait(lambda tap: all(tap.uplinks(flows).values()), what="a SYN of every flow")
    gateway.tap.wait_until_quiet()
    assert gateway.tap.split_flows() == []
    status = gateway.status()
    assert sum(uplink["flows"] for uplink in status["uplinks"].values()) == len(flows)
