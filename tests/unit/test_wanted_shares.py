"""`status` holds what uplinks got against what the balancers that were used want."""

from __future__ import annotations

import pytest

from classifier.config import parse_policy
from classifier.service.shares import wanted

POLICY = parse_policy(
    """
    [uplinks]
    a = { interface = "eth0", weight = 90 }
    b = { interface = "eth1", weight = 5 }
    c = { interface = "eth2", weight = 5 }
    [balancers]
    own = { method = "nth", uplinks = { a = 1, b = 3 }, fallback = "theirs" }
    theirs = { method = "nth", uplinks = ["b", "c"], fallback = "direct" }
    [[rules]]
    use = "own"
    protocol = "tcp"
    [[rules]]
    use = "theirs"
    protocol = "udp"
    [[rules]]
    use = "c"
    protocol = "icmp"
    [[rules]]
    use = "direct"
    """
)
ALL = frozenset({"a", "b", "c"})


@pytest.mark.parametrize(
    ("usable", "flows", "expected"),
    [
        (ALL, (0, 0, 0, 50), {}),
        (ALL, (100, 0, 0, 50), {"a": 0.25, "b": 0.75, "c": 0.0}),
        (ALL, (0, 100, 0, 0), {"a": 0.0, "b": 0.5, "c": 0.5}),
        (ALL, (100, 100, 50, 9), {"a": 0.1, "b": 0.5, "c": 0.4}),
        (ALL - {"b"}, (100, 100, 0, 0), {"a": 0.5, "b": 0.0, "c": 0.5}),
        (frozenset({"c"}), (100, 0, 0, 0), {"a": 0.0, "b": 0.0, "c": 1.0}),
        (frozenset({"a"}), (0, 100, 100, 0), {}),
    ],
    ids=["none", "its own weights", "equal", "mixed", "one is down", "fallback", "all are down"],
)
def test_the_shares_wanted_are_those_of_the_balancers_that_rules_have_used(
    usable: frozenset[str], flows: tuple[int, ...], expected: dict[str, float]
) -> None:
    assert wanted(POLICY, usable, flows) == pytest.approx(expected)
