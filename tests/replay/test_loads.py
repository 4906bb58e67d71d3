"""Methods that go by load see what the flows of a capture carry, at the capture's own time."""

from __future__ import annotations

import pytest
from capture_files import at, ipv4, udp

from classifier.config import parse_policy
from classifier.replay import replay

IN, OUT = "192.168.1.2", "198.51.100.7"
POLICY = """
[uplinks.a]
interface = "eth0"
gateway = "192.0.2.1"
capacity = "10mbit"
[uplinks.b]
interface = "eth1"
gateway = "198.51.100.1"
capacity = "10mbit"
[balancers.all]
method = "{method}"
uplinks = ["a", "b"]
[[rules]]
use = "all"
"""


def busy(downwards: bool):
    """A flow of 8 Mbit/s for 20 seconds, new flows all the while, and new flows long after."""
    big = ipv4(OUT, IN, 17, udp(53, 1, bytes(960))) if downwards else ipv4(
        IN, OUT, 17, udp(1, 53, bytes(960))
    )  # fmt: skip
    frames = [at(0, ipv4(IN, OUT, 17, udp(1, 53)))]
    frames += [at(n / 1000, big) for n in range(1, 20_000)]
    frames += [at(5 + n, ipv4(IN, OUT, 17, udp(100 + n, 53))) for n in range(15)]
    frames += [at(100 + n / 10, ipv4(IN, OUT, 17, udp(200 + n, 53))) for n in range(10)]
    return sorted(frames, key=lambda frame: frame.time)


@pytest.mark.parametrize("downwards", [True, False])
def test_least_loaded_avoids_the_uplink_that_carries_most(raw, downwards):
    policy = parse_policy(POLICY.format(method="least-loaded"))
    first, *others = replay(policy, raw(busy(downwards)), seed=1).decisions
    meanwhile, later = others[:15], others[15:]
    assert {d.uplink for d in meanwhile} == {"a", "b"} - {first.uplink}
    assert {d.uplink for d in later} == {"a", "b"}


def test_the_policy_compared_with_sees_the_loads_of_its_own_uplinks(raw):
    """By nth the flows would take turns; what moves is what least-loaded keeps off the busy one."""
    nth, least = (parse_policy(POLICY.format(method=m)) for m in ("nth", "least-loaded"))
    path = raw(busy(True))
    alone = [d.uplink for d in replay(least, path, seed=1).decisions]
    report = replay(nth, path, seed=1, against=least)
    assert report.against is not None
    assert [d.uplink for d in report.against.report.decisions] == alone
    assert report.against.moved > 5
