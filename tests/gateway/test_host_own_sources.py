"""The source address of the gateway's own flows on an uplink that masquerades nothing else."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

WEIGHTS = {"wired": 1, "wifi1": 1}


@pytest.mark.parametrize("family", [4, 6])
def test_own_flows_on_a_routed_uplink_have_its_address_and_forwarded_ones_keep_theirs(
    lab: StartLab, configuration: Configuration, family: int
) -> None:
    """A socket was given the address of main's default uplink; behind another nobody answers it."""
    text = configuration(WEIGHTS, uplink='gateway6 = "fe80::1"')
    routed = text.replace('interface = "eth1"', 'interface = "eth1"\nmasquerade = false')
    gateway = lab(routed)
    gateway.tap.clear()
    own = gateway.flows(30, "tcp", 8080, source=None, family=family)
    taken = gateway.connect(own, sender="gateway")
    assert Counter(taken.values()) == {"wired": 15, "wifi1": 15}, "some were not answered"
    sources = {(n, seen.src) for seen, uplinks in gateway.tap.flows().items() for n in uplinks}
    assert sources == {
        (u.name, str(u.own if family == 4 else u.own6)) for u in gateway.addresses.uplinks
    }

    gateway.tap.clear()
    forwarded = gateway.flows(30, "tcp", 8080, family=family)
    taken = gateway.connect(forwarded)
    assert Counter(taken.values()) == {"wired": 15, "wifi1": 15}
    by_wifi = {s.src for s, uplinks in gateway.tap.flows().items() if "wifi1" in uplinks}
    assert by_wifi == {flow.src for flow, uplink in taken.items() if uplink == "wifi1"}


def test_a_direct_flow_keeps_an_address_that_is_of_no_uplink(
    lab: StartLab, configuration: Configuration
) -> None:
    """An address of its own, as routing daemons and tunnels have on lo, is routed everywhere."""
    rules = '[[rules]]\nname = "own"\nfrom = ["10.255.0.1"]\nuse = "direct"'
    gateway = lab(configuration(WEIGHTS, uplink="masquerade = false", rules=rules))
    gateway.gateway.run(["ip", "addr", "add", "10.255.0.1/32", "dev", "lo"])
    gateway.tap.clear()
    gateway.send(gateway.flows(1, "udp", 5000, source="10.255.0.1"), sender="gateway")
    gateway.tap.wait_for_packets(1)
    assert [seen.src for seen in gateway.tap.flows()] == ["10.255.0.1"]
