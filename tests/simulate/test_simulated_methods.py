"""Methods compared on paper: 60 parallel downloads over uplinks of 20, 10 and 5 Mbit/s."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from classifier import simulate
from classifier.policy import Policy, Rule

EQUAL = "{ a = 1, b = 1, c = 1 }"
BY_CAPACITY = '["a", "b", "c"]'
DOWNLOADS = {"parallel": 60, "bytes": "exponential:2m", "remotes": "uniform:1000", "hosts": 1}


def throughput(policy: Policy, **more: object) -> float:
    """Mbit/s of all uplinks."""
    report = simulate(policy, 20_000, seed=1, keep=False, **{**DOWNLOADS, **more})  # type: ignore[arg-type]
    assert report.throughput is not None
    return report.throughput * 8e-6


def test_least_loaded_is_far_ahead_of_the_methods_that_know_no_load(
    balanced: Callable[..., Policy],
) -> None:
    """`weighted` is what the kernel's `statistic` does in mode random: independent draws. With
    equal weights, the methods that know no load have the 5 Mbit/s for a third of the flows: 15
    Mbit/s."""
    found = {
        method: throughput(balanced(method, EQUAL))
        for method in ("least-loaded", "nth", "weighted", "hash")
    }
    assert found["least-loaded"] > 0.95 * 35, found
    assert found["nth"] == pytest.approx(15, rel=0.05)
    assert found["weighted"] == pytest.approx(15, rel=0.05)
    assert 13 < found["hash"] < 17


def test_weights_by_capacity_help_those_that_know_no_load(balanced: Callable[..., Policy]) -> None:
    """By Gordon & Newell independent draws reach 60 / 62 of 35 Mbit/s; exact turns do better."""
    found = {method: throughput(balanced(method)) for method in ("nth", "weighted")}
    assert found["weighted"] == pytest.approx(35 * 60 / 62, rel=0.02)
    assert found["weighted"] < found["nth"] <= 35
    assert throughput(balanced("least-loaded")) > 0.95 * 35


def test_overflow_fills_the_first_uplink_before_the_next(balanced: Callable[..., Policy]) -> None:
    """4 Mbit/s have room in the first one of 20; of 28 some goes on."""
    flows = {"flows": 20_000, "bytes": "constant:12500", "seed": 1}
    little = simulate(balanced("overflow"), arrivals="poisson:40", **flows)  # type: ignore[arg-type]
    assert little.share("a") > 0.99
    more = simulate(balanced("overflow"), arrivals="poisson:280", **flows)  # type: ignore[arg-type]
    a, b = more.loads["a"].throughput or 0, more.loads["b"].throughput or 0
    assert a > b > 0


def test_flows_of_an_uplink_that_goes_down_are_cut_and_go_on_elsewhere(
    balanced: Callable[..., Policy],
) -> None:
    report = simulate(
        balanced("nth"), 2000, arrivals="constant:10", bytes="constant:250k", seed=1,
        at=["100500ms a down", "150s a up"],
    )  # fmt: skip
    of_a = [flow for flow in report.decisions if flow.uplink == "a"]
    assert not [flow for flow in of_a if 100.5 < flow.time < 150]
    assert [flow for flow in of_a if flow.time > 150]
    cut = [flow for flow in report.decisions if flow.bytes < 250_000]
    assert len(cut) == report.loads["a"].cut > 0
    assert {flow.uplink for flow in cut} == {"a"}
    assert all(flow.time <= 100.5 for flow in cut)
    assert report.flows == 2000


def test_direct_flows_are_not_cut_when_uplinks_come_and_go(balanced: Callable[..., Policy]) -> None:
    policy = balanced("nth")
    policy = replace(policy, rules=(Rule("direct", "direct"),))
    events = [f"{time} {name} {state}" for time, state in (("5s", "down"), ("8s", "up"))
              for name in "abc"]  # fmt: skip
    report = simulate(policy, 100, arrivals="constant:10", bytes="constant:250k", at=events, seed=1)
    assert report.direct.bytes == 100 * 250_000


def test_clients_of_an_uplink_that_goes_down_begin_anew(balanced: Callable[..., Policy]) -> None:
    report = simulate(
        balanced("nth"), 500, parallel=20, bytes="constant:1m", at=["5s a down"], seed=1
    )
    assert report.flows == 500
    again = [flow for flow in report.decisions if flow.time == 5.0]
    assert len(again) == report.loads["a"].cut > 0
    assert "a" not in {flow.uplink for flow in again}
    assert report.throughput is not None
    assert report.throughput * 8e-6 > 14.5  # the 15 Mbit/s that are left


def test_clients_that_wait_for_each_other_begin_all_at_once(
    balanced: Callable[..., Policy],
) -> None:
    """Bursts of 60 by turns of 4, 2 and 1: the most that one uplink gets says when each ends."""
    report = simulate(balanced("nth"), 240, parallel=60, together=True, bytes="constant:1m", seed=1)
    begun = sorted({flow.time for flow in report.decisions})
    assert len(begun) == 4
    rates = {"a": 2.5, "b": 1.25, "c": 0.625}
    for now, then in pairwise([*begun, report.seconds]):
        burst = [flow for flow in report.decisions if flow.time == now]
        assert len(burst) == 60
        taken = Counter(str(flow.uplink) for flow in burst)
        longest = max(taken[name] / rate for name, rate in rates.items())
        assert then - now == pytest.approx(longest, rel=1e-6)


def test_clients_that_wait_for_each_other_do_so_when_an_uplink_goes_down(
    balanced: Callable[..., Policy],
) -> None:
    report = simulate(
        balanced("nth"), 120, parallel=60, together=True, bytes="constant:1m", seed=1,
        at=["2s a down"],
    )  # fmt: skip
    assert report.loads["a"].cut > 0
    assert len({flow.time for flow in report.decisions}) == 2
    assert report.flows == 120


def test_a_standby_uplink_is_used_when_the_others_are_down(one_uplink: Policy) -> None:
    from classifier.config import parse_policy

    policy = parse_policy(
        """
        gateway.lan = ["lan0"]
        uplinks.first = { interface = "eth0", gateway = "192.0.2.1" }
        uplinks.standby = { interface = "eth1", gateway = "198.51.100.1", tier = 2 }
        balancers.all.uplinks = ["first", "standby"]
        rules = [{ name = "rest", use = "all" }]
        """
    )
    report = simulate(policy, 200, arrivals="constant:10", at=["10s first down"], seed=1)
    assert [flow.uplink for flow in report.decisions[:100]] == ["first"] * 100
    assert [flow.uplink for flow in report.decisions[101:]] == ["standby"] * 99


def test_a_method_of_a_user_is_asked(
    balanced: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """One that goes by how many flows each uplink has got, told by the simulation."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "fewest.py").write_text(  # type: ignore[operator]
        "class Fewest:\n"
        "    def select(self, flow, uplinks, now):\n"
        "        return min(uplinks, key=lambda uplink: uplink.flows)\n"
    )
    report = simulate(balanced("fewest:Fewest"), 300, seed=1)
    assert {use.flows for use in report.uplinks.values()} == {100}
    assert {flow.reason for flow in report.decisions} == {"custom"}
