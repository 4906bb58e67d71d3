"""Shares: what each uplink gets is what its weight says, counted where flows arrive."""

from __future__ import annotations

import pytest

from classifier.lab.shares import largest_deviation
from tests.gateway.conftest import Configuration, StartLab

WEIGHTS = [
    {"wired": 1, "wifi1": 1},
    {"wired": 34, "wifi1": 33, "wifi2": 33},
    {"wired": 5, "wifi1": 2, "wifi2": 1},
]


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda w: ":".join(map(str, w.values())))
def test_nth_is_within_one_flow_of_the_ideal_at_every_point(
    lab: StartLab, configuration: Configuration, weights: dict[str, int]
) -> None:
    gateway = lab(configuration(weights))
    flows = gateway.flows(300, "tcp", 8080)
    taken = gateway.connect(flows, at_once=1)
    assert largest_deviation([taken[flow] for flow in flows], weights) < 1
