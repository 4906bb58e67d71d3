"""The HTML report of simulated flows: the page of a replay, with the numbers of the simulation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from page_reader import read_page, table
from simulated_policies import written

from classifier import simulate
from classifier.config import parse_policy
from classifier.policy import Policy
from classifier.simulate import Simulation

TRAFFIC = {"arrivals": "poisson:40", "bytes": "exponential:100k", "remotes": "zipf:1.1:300"}


def watched(policy: Policy, flows: int = 4000, **more: object) -> Simulation:
    return simulate(policy, flows, seed=3, watch=True, **{**TRAFFIC, **more})  # type: ignore[arg-type]


def test_loads_over_time_add_up_to_what_was_carried(balanced: Callable[..., Policy]) -> None:
    report = watched(balanced("nth"))
    assert report.figures is not None
    for name, use in report.uplinks.items():
        load = report.figures.loads[name]
        assert sum(load.flows) == use.flows
        assert sum(load.down) == pytest.approx(use.bytes, abs=2)
        assert load.peak_up == 0
        # In steps of 0.1 s, against whole seconds.
        capacity = report.loads[name].capacity
        assert capacity is not None
        assert report.loads[name].peak - 2 <= load.peak_down <= capacity + 2
    assert report.figures.seconds == pytest.approx(report.seconds, abs=0.001)
    assert report.figures.start is None


def test_load_comes_when_it_was_carried(one_uplink: Policy) -> None:
    """A million bytes a second for two seconds, at 10, 40 and 70 s."""
    report = watched(
        one_uplink, 3, arrivals="constant:0.033333333333", bytes="constant:2m", remotes="uniform:1",
    )  # fmt: skip
    assert report.figures is not None
    load, span = report.figures.loads["only"], report.figures.span
    begins = [flow.time for flow in report.decisions]
    assert len(begins) == 3
    for number, carried in enumerate(load.down):
        time = number * span
        busy = sum(max(min(time + span, b + 2) - max(time, b), 0) for b in begins)
        assert carried == pytest.approx(busy * 1_000_000, abs=101_000)  # a slot of 0.1 s
    assert load.peak_down == pytest.approx(1_000_000, abs=2)


@pytest.mark.parametrize("arrivals", ["constant:0.5", "constant:1", "constant:10"])
def test_no_second_is_busier_than_the_line_allows(
    balanced: Callable[..., Policy], arrivals: str
) -> None:
    report = watched(balanced("nth"), 40, arrivals=arrivals, bytes="constant:30m")
    assert report.figures is not None
    for name, load in report.loads.items():
        assert report.figures.loads[name].peak_down == pytest.approx(load.peak, abs=12)


def test_what_ends_at_a_look_is_counted_once() -> None:
    text = written("nth", '["a", "b"]').replace("20mbit", "6mbit")
    report = watched(
        parse_policy(text), 50, arrivals=None, parallel=1, bytes="constant:900k", flow_rate="3mbit"
    )
    assert report.figures is not None
    for name, use in report.uplinks.items():
        assert sum(report.figures.loads[name].down) == pytest.approx(use.bytes, abs=2)


def test_a_flow_of_days_is_spread_over_them(one_uplink: Policy) -> None:
    report = watched(one_uplink, 1, arrivals="constant:1", bytes="constant:500g")
    assert report.figures is not None
    load, span = report.figures.loads["only"], report.figures.span
    assert report.seconds == pytest.approx(500_000)
    assert sum(load.down) == pytest.approx(500_000_000_000, abs=2)
    assert all(carried == pytest.approx(span * 1e6, rel=0.01) for carried in load.down[:-1])
    assert load.peak_down == pytest.approx(1_000_000, abs=2)


def test_looking_changes_nothing(balanced: Callable[..., Policy]) -> None:
    """Neither the decisions of methods that go by load, nor what is cut."""
    traffic = {"flows": 3000, "at": ["7350ms a down", "20s a up"], "seed": 3, **TRAFFIC}
    seen = simulate(balanced("least-loaded"), watch=True, **traffic)  # type: ignore[arg-type]
    unseen = simulate(balanced("least-loaded"), **traffic)  # type: ignore[arg-type]
    assert seen == unseen
    assert list(seen.decisions) == list(unseen.decisions)
    assert seen.loads["a"].cut > 0
    assert seen.figures is not None and unseen.figures is None
    for name, use in seen.uplinks.items():
        assert sum(seen.figures.loads[name].down) == pytest.approx(use.bytes, abs=3000)


def test_rules_and_remotes_are_those_of_the_flows(balanced: Callable[..., Policy]) -> None:
    report = watched(balanced("hash"))
    assert report.figures is not None
    (rest,) = [rule for rule in report.figures.rules if rule.name == "rest"]
    for way, amount in rest.ways.items():
        use = report.uplinks[way]
        assert (amount.flows, amount.packets, amount.bytes) == (use.flows, use.packets, use.bytes)
    top = report.figures.remotes[0]
    its = [flow for flow in report.decisions if flow.dst == top.address]
    assert (top.flows, top.bytes) == (len(its), sum(flow.bytes for flow in its))
    assert set(top.ways) == {flow.uplink for flow in its}
    assert report.figures.sticky_breaks == 0


def test_flows_that_are_dropped_bring_nothing() -> None:
    rule = '[[rules]]\nname = "no web"\nto_ports = 443\nuse = "drop"\n[[rules]]'
    policy = parse_policy(written("nth", '["a", "b"]').replace("[[rules]]", rule))
    report = watched(policy, 200)
    assert report.figures is not None
    assert report.dropped.flows > 0
    (no_web,) = [rule for rule in report.figures.rules if rule.name == "no web"]
    assert [(way, use.bytes) for way, use in no_web.ways.items()] == [("drop", 0)]


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    file, out = tmp_path / "gateway.toml", tmp_path / "out.html"
    file.write_text(written("nth", '["a", "b", "c"]'))
    command = [sys.executable, "-m", "classifier", "simulate", str(file), "--flows", "700"]
    command += ["--seed", "3", "--report", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    made = read_page(out.read_text())
    assert made.all("title")[0].text == f"{file}: simulate"
    assert "zipf:1.1" in made.text and "of simulated time" in made.text
    assert "1970" not in made.text and "capture" not in made.text and "replay" not in made.text
    rows = table(made, "What each uplink would have carried")
    assert [row[:2] for row in rows[1:]] == [["a", "400"], ["b", "200"], ["c", "100"]]
    over = subprocess.run(
        [*command[:-1], str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert over.returncode == 2
    assert "is the configuration: must be another file" in over.stderr
