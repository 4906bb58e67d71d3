"""Shares: what each uplink gets is what its weight says, counted where flows arrive."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from classifier.lab.shares import largest_deviation, outside_interval

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

WEIGHTS = [
    {"wired": 1, "wifi1": 1},
    {"wired": 34, "wifi1": 33, "wifi2": 33},
    {"wired": 5, "wifi1": 2, "wifi2": 1},
    {"wired": 1, "wifi1": 1, "wifi2": 1, "lte": 1, "fibre": 1},
    {"wired": 8, "wifi1": 5, "wifi2": 3, "lte": 2, "fibre": 1},
]


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


def test_weighted_lies_within_the_interval_of_independent_draws(
    lab: StartLab, configuration: Configuration
) -> None:
    weights = {"wired": 5, "wifi1": 2, "wifi2": 1}
    gateway = lab(configuration(weights, method="weighted"), seed=3)
    taken = gateway.connect(gateway.flows(2000, "tcp", 8080))
    assert None not in taken.values()
    assert outside_interval(Counter(map(str, taken.values())), weights) == []


def test_hash_keeps_a_remote_on_its_uplink_and_moves_only_flows_of_one_that_goes_away(
    lab: StartLab, configuration: Configuration
) -> None:
    weights = {"wired": 1, "wifi1": 1, "wifi2": 1}
    text = configuration(weights, method="hash").replace(
        'gateway = "192.0.4.1"', 'gateway = "auto"'
    )
    gateway = lab(text, seed=7)
    remotes = [flow.dst for flow in gateway.flows(300, "tcp", 8080)]

    def visit() -> dict[str, str]:
        flows = gateway.flows(len(remotes), "tcp", 8080, to=remotes)
        return {flow.dst: str(name) for flow, name in gateway.connect(flows).items()}

    before = visit()
    assert set(before.values()) == set(weights)
    assert visit() == before, "a remote is on another uplink at its second visit"

    assert gateway.stop_service() == 0
    gateway.gateway.run(["ip", "route", "del", "default", "dev", "eth2"])
    gateway.start_service("--seed", "7")
    after = visit()
    assert gateway.status()["uplinks"]["wifi2"]["state"] == "down"
    assert "wifi2" not in after.values()
    stayed = {remote: name for remote, name in before.items() if name != "wifi2"}
    assert {remote: after[remote] for remote in stayed} == stayed
