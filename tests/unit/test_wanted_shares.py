"""`status` holds what uplinks got against what the balancers that were used want."""

from __future__ import annotations

import pytest

from classifier.config import parse_policy
from classifier.service.shares import wanted
from classifier.uplinks.placing import Usable

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


@pytest.mark.parametrize(
    ("up", "flows", "expected"),
    [
        ("abc", (0, 0, 0, 50), {}),
        ("abc", (100, 0, 0, 50), {"a": 0.25, "b": 0.75, "c": 0.0}),
        ("abc", (0, 100, 0, 0), {"a": 0.0, "b": 0.5, "c": 0.5}),
        ("abc", (100, 100, 50, 9), {"a": 0.1, "b": 0.5, "c": 0.4}),
        ("ac", (100, 100, 0, 0), {"a": 0.5, "b": 0.0, "c": 0.5}),
        ("c", (100, 0, 0, 0), {"a": 0.0, "b": 0.0, "c": 1.0}),
        ("a", (0, 100, 100, 0), {}),
    ],
    ids=["none", "its own weights", "equal", "mixed", "one is down", "fallback", "all are down"],
)
def test_the_shares_wanted_are_those_of_the_balancers_that_rules_have_used(
    up: str, flows: tuple[int, ...], expected: dict[str, float]
) -> None:
    usable: Usable = dict.fromkeys(up, frozenset((4, 6)))
    assert wanted(POLICY, usable, [(count, 0) for count in flows]) == pytest.approx(expected)
    halves = [(count // 2, count - count // 2) for count in flows]
    assert wanted(POLICY, usable, halves) == pytest.approx(expected)


def test_the_shares_wanted_are_those_of_the_tiers_in_use_for_each_family() -> None:
    tiers = parse_policy(
        """
        [uplinks]
        first = { interface = "eth0" }
        standby = { interface = "eth1", tier = 2 }
        [balancers]
        all = { uplinks = ["first", "standby"] }
        [[rules]]
        use = "all"
        """
    )
    both: Usable = {"first": frozenset((4, 6)), "standby": frozenset((4, 6))}
    assert wanted(tiers, both, [(30, 10)]) == {"first": 1.0, "standby": 0.0}
    without4: Usable = {**both, "first": frozenset((6,))}
    assert wanted(tiers, without4, [(30, 10)]) == {"first": 0.25, "standby": 0.75}
