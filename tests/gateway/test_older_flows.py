"""Flows that are older than the service stay where they are: it did not place them, or long ago.

One-way UDP is the hard case. Nothing answers, so to conntrack each packet of it is of a NEW flow.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from host_snapshots import shell

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.flows import FiveTuple
    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}
FLOWS = 20
# As it was before there were several uplinks: eth0 is main's default. Without any rule that needs
# connection tracking the kernel would track nothing, and no flow would be known as an older one.
ROUTER = (
    "sysctl -qw net.ipv4.ip_forward=1; iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP"
)
ROUTER_WITH_SNAT = f"{ROUTER}; iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE"


def send(gateway: Lab, flows: list[FiveTuple], sender: str = "lan", packets: int = 3) -> None:
    expected = gateway.tap.packets().total() + packets * len(flows)
    gateway.send(flows, packets=packets, sender=sender)
    gateway.tap.wait_for_packets(expected)


def places(gateway: Lab) -> dict[FiveTuple, frozenset[str]]:
    """Every flow as it was seen on the internet, and the uplinks that it came by."""
    return {flow: frozenset(uplinks) for flow, uplinks in gateway.tap.flows().items()}


@pytest.mark.parametrize("sender", ["lan", "gateway"])
@pytest.mark.parametrize("before", [ROUTER, ROUTER_WITH_SNAT], ids=["routed", "masqueraded"])
def test_a_flow_older_than_the_first_start_stays_on_its_uplink(
    lab: StartLab, configuration: Configuration, before: str, sender: str
) -> None:
    masquerade = "masquerade = false" if before == ROUTER else ""
    gateway = lab(configuration(WEIGHTS, uplink=masquerade), service=False)
    shell(gateway.gateway, before)
    source = "lan" if sender == "lan" else None
    flows = gateway.flows(FLOWS, "udp", 5000, source=source)
    send(gateway, flows, sender)
    gateway.start_service()
    send(gateway, flows, sender)
    assert len(places(gateway)) == FLOWS, "a flow changed its address"
    assert set(places(gateway).values()) == {frozenset({"wired"})}
    assert gateway.status()["queue"]["packets"] == 0
    # Those that begin now are classified.
    gateway.tap.clear()
    send(gateway, gateway.flows(FLOWS, "udp", 5000, source=source), sender)
    assert Counter(places(gateway).values()) == {
        frozenset({"wired"}): FLOWS / 2,
        frozenset({"wifi1"}): FLOWS / 2,
    }


@pytest.mark.parametrize("end", ["killed", "killed for long", "stopped, state kept", "stopped"])
def test_a_flow_of_a_service_before_keeps_its_uplink_at_the_next(
    lab: StartLab, configuration: Configuration, end: str
) -> None:
    gateway = lab(configuration(WEIGHTS), *(("--keep",) if "kept" in end else ()))
    flows = gateway.flows(FLOWS, "udp", 5000)
    send(gateway, flows)
    placed = places(gateway)
    assert set(placed.values()) == {frozenset({"wired"}), frozenset({"wifi1"})}
    if end.startswith("killed"):
        gateway.service.kill()
    else:
        assert gateway.stop_service() == 0
    if end != "stopped":
        send(gateway, flows)  # while nobody is there
    if end == "killed for long":
        # Others begin, pass as direct, and stay so.
        others = gateway.flows(FLOWS, "udp", 6000)
        send(gateway, others)
    gateway.start_service()
    send(gateway, flows)
    if end == "killed for long":
        send(gateway, others)
        assert len(places(gateway)) == 2 * FLOWS
        placed |= dict.fromkeys(places(gateway).keys() - placed, frozenset({"wired"}))
    assert places(gateway) == placed
    assert gateway.status()["queue"]["packets"] == 0
