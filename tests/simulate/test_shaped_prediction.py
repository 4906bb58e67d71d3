"""What `python -m bench shaped` predicts is what an engine does with the same flows."""

from __future__ import annotations

import socket
import struct

import pytest

from bench.shaped.paper import predicted
from bench.shaped.scenario import BURSTS, CLIENTS, CONTENDERS, EQUAL, PORT, Contender, Scenario
from classifier import Classifier
from classifier.config import parse_policy

BY_NAME = {one.name: one for one in CONTENDERS}
SEEDS = (7, 8, 9)


def syn(remote: str, sport: int) -> bytes:
    """The first packet of a download, as a client in the lab sends it."""
    addresses = socket.inet_aton("10.76.0.2") + socket.inet_aton(remote)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, socket.IPPROTO_TCP, 0) + addresses
    return ip + struct.pack("!HHIIBBHHH", sport, PORT, 0, 0, 5 << 4, 2, 65535, 0, 0)


@pytest.mark.parametrize("scenario", [EQUAL, BURSTS], ids=["equal", "bursts"])
@pytest.mark.parametrize("one", [BY_NAME["nth"], BY_NAME["hash"]], ids=lambda one: one.name)
def test_each_flow_is_predicted_to_go_where_the_gateway_sends_it(
    scenario: Scenario, one: Contender
) -> None:
    """Other ports, another source and other times than in the simulation: no matter to these."""
    for seed in SEEDS:
        paper = predicted(scenario, one, seed)
        gateway = Classifier(parse_policy(scenario.policy(str(one.method))), seed=seed)
        ways = [
            gateway.classify(
                syn(remote, 59999 - number), now=number * 0.37, in_interface="lan0"
            ).uplink
            for number, remote in enumerate(paper.remotes)
        ]
        assert tuple(ways) == paper.ways
        assert len(ways) == scenario.flows


def test_clients_ask_remotes_that_the_lab_does_not_use_itself() -> None:
    import ipaddress

    for remote in predicted(EQUAL, BY_NAME["nth"], SEEDS[0]).remotes:
        assert ipaddress.ip_address(remote).is_global


def test_with_equal_weights_only_the_load_makes_a_difference() -> None:
    """The slow line is the bottleneck of all that give it a third of the flows."""
    used = {name: predicted(EQUAL, one, SEEDS[0]).percent for name, one in BY_NAME.items()}
    assert used.pop("least-loaded") > 99
    assert used["nth"] == used["statistic"]
    assert all(45 < percent < 70 for percent in used.values()), used


def test_bursts_tell_turns_from_draws_and_draws_from_hashes() -> None:
    """Turns give each line its part of 60 downloads: 34 or 35, 17 or 18, 8 or 9. Of one remote's a
    hash gives all to one line, which is 57 percent of the three at best."""
    used = {
        name: [predicted(BURSTS, one, seed).percent for seed in SEEDS]
        for name, one in BY_NAME.items()
    }
    assert min(used["least-loaded"] + used["nth"]) > 95
    assert 57.2 < min(used["statistic"]) < max(used["statistic"]) < 92
    assert {round(percent) for percent in used["hash"]} <= {14, 29, 57}
    assert len(predicted(BURSTS, BY_NAME["nth"], 1).ways) % CLIENTS == 0
