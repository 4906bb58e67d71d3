"""Policies that simulated traffic is put through."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from simulated_policies import written

from classifier.config import parse_policy
from classifier.policy import Policy


@pytest.fixture
def balanced() -> Callable[..., Policy]:
    """Uplinks of 20, 10 and 5 Mbit/s under one balancer."""

    def policy(method: str = "weighted", weights: str = '["a", "b", "c"]') -> Policy:
        return parse_policy(written(method, weights))

    return policy


@pytest.fixture
def one_uplink() -> Policy:
    """Everything by one uplink of 8 Mbit/s: a million bytes per second."""
    return parse_policy(
        """
        [gateway]
        lan = ["lan0"]
        [uplinks.only]
        interface = "eth0"
        gateway = "192.0.2.1"
        capacity = "8mbit"
        [[rules]]
        name = "rest"
        use = "only"
        """
    )
