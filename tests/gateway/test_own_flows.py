"""The gateway's own flows are balanced too, and get their answers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

WEIGHTS = {"wired": 1, "wifi1": 1, "wifi2": 1}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_own_flows_are_balanced_with_the_right_source_and_answered(
    lab: StartLab, configuration: Configuration, protocol: str
) -> None:
    gateway = lab(configuration(WEIGHTS))
    gateway.tap.clear()
    flows = gateway.flows(90, protocol, 8080, source=None)
    talk = gateway.connect if protocol == "tcp" else gateway.ask
    taken = talk(flows, sender="gateway")
    assert Counter(taken.values()) == dict.fromkeys(WEIGHTS, 30), "some were not answered"
    sources = {
        (name, seen.src) for seen, uplinks in gateway.tap.flows().items() for name in uplinks
    }
    assert sources == {(u.name, str(u.own)) for u in gateway.addresses.uplinks}


def test_a_rule_for_a_user_takes_that_user_s_flows_only(
    lab: StartLab, configuration: Configuration
) -> None:
    # The kernel tells the queue users as the initial user namespace numbers them.
    own_id = Path("/proc/self/uid_map").read_text().split()[1]
    rules = f'[[rules]]\nname = "root"\nuser = {own_id}\nuse = "wifi2"'
    gateway = lab(configuration(WEIGHTS, rules=rules))
    own = gateway.connect(gateway.flows(20, "tcp", 8080, source=None), sender="gateway")
    assert set(own.values()) == {"wifi2"}
    assert set(gateway.connect(gateway.flows(30, "tcp", 8080)).values()) == set(WEIGHTS)


def test_own_flows_are_left_alone_when_the_configuration_says_so(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, gateway="local = false"))
    own = gateway.connect(gateway.flows(20, "tcp", 8080, source=None), sender="gateway")
    assert set(own.values()) == {"wired"}
    assert gateway.status()["queue"]["packets"] == 0


def test_a_socket_bound_to_an_uplink_s_address_leaves_by_that_uplink(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    own = str(gateway.addresses.uplink("wifi1").own)
    flows = gateway.flows(20, "tcp", 8080, source=own)
    assert set(gateway.connect(flows, sender="gateway").values()) == {"wifi1"}
