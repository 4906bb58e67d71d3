"""A simulation as a whole: same engine, same report, same result for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from classifier import simulate
from classifier.config import parse_policy
from classifier.errors import UsageError
from classifier.policy import Policy

RULES = """
[gateway]
lan = ["lan0"]
[uplinks.a]
interface = "eth0"
gateway = "192.0.2.1"
[uplinks.b]
interface = "eth1"
gateway = "198.51.100.1"
[balancers.all]
uplinks = ["a", "b"]
sticky = "remote"
[[rules]]
name = "no web"
protocol = "tcp"
to_ports = [80]
use = "drop"
[[rules]]
name = "quic stays"
protocol = "udp"
use = "direct"
[[rules]]
name = "guests"
from = ["192.168.0.0/27"]
in_interface = ["lan0"]
use = "b"
[[rules]]
name = "rest"
use = "all"
"""


def test_flows_go_the_way_that_the_rules_say() -> None:
    report = simulate(parse_policy(RULES), 20_000, remotes="uniform:50", seed=1)
    ways = {(flow.protocol, flow.dport): (flow.rule, flow.uplink) for flow in report.decisions}
    assert ways["tcp", 80] == ("no web", None)
    assert ways["udp", 443] == ("quic stays", None)
    flows = {rule.name: rule.flows for rule in report.rules}
    assert flows["no web"] == report.dropped.flows > 0
    assert flows["quic stays"] == report.direct.flows > 0
    guests = [flow for flow in report.decisions if flow.rule == "guests"]
    assert len(guests) == flows["guests"] > 0
    assert all(flow.uplink == "b" for flow in guests)
    of_remotes: dict[str, set[str | None]] = {}
    for flow in report.decisions:
        if flow.rule == "rest":
            of_remotes.setdefault(flow.dst, set()).add(flow.uplink)
    assert len(of_remotes) == 50
    assert all(len(uplinks) == 1 for uplinks in of_remotes.values())
    assert sum(flows.values()) == report.flows == 20_000


def test_the_sums_are_those_of_the_flows() -> None:
    report = simulate(parse_policy(RULES), 3000, seed=4)
    for name, use in report.uplinks.items():
        placed = [flow for flow in report.decisions if flow.uplink == name]
        assert use.flows == len(placed)
        assert use.bytes == sum(flow.bytes for flow in placed)
        assert use.packets == sum(flow.packets for flow in placed)
    assert report.packets == sum(flow.packets for flow in report.decisions)


def test_a_client_whose_flows_are_dropped_waits_before_it_tries_again() -> None:
    policy = parse_policy(RULES)
    report = simulate(policy, 10, parallel=1, ports="tcp/80")
    assert [flow.time for flow in report.decisions] == pytest.approx(range(10))
    assert report.dropped.flows == 10


def test_the_same_seed_gives_the_same_report(balanced: Callable[..., Policy]) -> None:
    policy = balanced("weighted")
    first, again, other = (simulate(policy, 3000, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert list(first.decisions) == list(again.decisions)
    assert first != other


def test_another_number_of_hosts_changes_no_arrival_and_no_size(
    balanced: Callable[..., Policy],
) -> None:
    """So that two simulations that differ in one thing can be compared flow by flow."""
    few, many = (simulate(balanced(), 2000, hosts=hosts, seed=7) for hosts in (3, 3000))
    assert [(flow.time, flow.bytes, flow.dst) for flow in few.decisions] == [
        (flow.time, flow.bytes, flow.dst) for flow in many.decisions
    ]
    assert {flow.src for flow in few.decisions} != {flow.src for flow in many.decisions}


def test_every_policy_gets_the_same_flows(balanced: Callable[..., Policy]) -> None:
    one, other = (simulate(balanced(method), 2000, seed=7) for method in ("nth", "hash"))
    assert [replace(flow, uplink=None, reason="") for flow in one.decisions] == [
        replace(flow, uplink=None, reason="") for flow in other.decisions
    ]


def test_the_lowest_rate_can_be_written_as_errors_write_it(balanced: Callable[..., Policy]) -> None:
    report = simulate(balanced(), 2, arrivals="constant:1e-06", bytes="constant:1", seed=1)
    first, second = report.decisions
    assert second.time - first.time == pytest.approx(1e6)


@pytest.mark.parametrize(
    ("wanted", "rule"),
    [
        ({"flows": 0}, "flows 0: must be a whole number from 1 to 10000000000"),
        ({"flows": 1.5}, "flows 1.5: must be a whole number"),
        ({"flows": float("nan")}, "flows nan: must be a whole number"),
        ({"parallel": 0}, "parallel 0: must be a whole number from 1 to 1000000"),
        ({"together": True}, "together: only with parallel"),
        ({"parallel": 2, "arrivals": "poisson:1"}, "parallel 2: not together with arrivals"),
        ({"remotes": "normal:1"}, "remotes normal:1: must be zipf:S[:N] or uniform:N"),
        ({"remotes": "zipf:0"}, "remotes zipf:0: S must be a number from 0.01 to 10, not '0'"),
        ({"remotes": "zipf:1:2:3"}, "remotes zipf:1:2:3: must be zipf:S[:N]"),
        ({"remotes": "uniform:0.5"}, "remotes uniform:0.5: N must be a whole number from 1"),
        ({"arrivals": "poisson"}, "arrivals poisson: must be poisson:RATE"),
        ({"arrivals": "poisson:-1"}, "arrivals poisson:-1: RATE must be a number from 1e-06"),
        ({"bytes": "pareto:x"}, "bytes pareto:x: SHAPE must be a number from 0.01 to 100, not 'x'"),
        ({"bytes": "pareto:1:9:9"}, "bytes pareto:1:9:9: SMALLEST (9) must be below LARGEST (9)"),
        ({"bytes": ""}, "bytes : must be pareto:SHAPE[:SMALLEST[:LARGEST]] or exponential:MEAN"),
        ({"ports": "tcp/0"}, "ports tcp/0: 'tcp/0' must be tcp/PORT[:WEIGHT]"),
        ({"ports": "tcp/1:0"}, "ports tcp/1:0: the weight of 'tcp/1:0' must be from 1 to 1000000"),
        ({"ports": "tcp/80,icmp"}, "ports tcp/80,icmp: 'icmp' must be tcp/PORT[:WEIGHT]"),
        ({"hosts": 300, "lan": "10.0.0.0/24"}, "hosts 300: must be a whole number from 1 to 254"),
        ({"lan": "10.0.0.1"}, "lan 10.0.0.1/32: has no addresses for hosts"),
        ({"lan": "10.0.0.1/8"}, "lan 10.0.0.1/8: 10.0.0.1/8 has host bits set"),
        ({"flow_rate": "fast"}, "flow-rate fast: must be a rate such as"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_wrong_value_is_named_with_its_rule(
    balanced: Callable[..., Policy], wanted: dict[str, object], rule: str
) -> None:
    with pytest.raises(UsageError) as caught:
        simulate(balanced(), **wanted)  # type: ignore[arg-type]
    assert str(caught.value).startswith(rule)
