"""Uplinks that fill behave as queueing theory and a plain model say of processor sharing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from classifier import simulate
from classifier.policy import Policy
from classifier.replay import FlowDecision

UNLIMITED = "900gbit"


def pareto_mean(shape: float, smallest: float, largest: float) -> float:
    scale = shape / (shape - 1) / (1 - (smallest / largest) ** shape)
    return scale * (smallest - largest * (smallest / largest) ** shape)


@pytest.mark.parametrize(
    ("sizes", "mean"),
    [
        ("constant:10000", 10_000.0),
        ("exponential:10k", 10_000.0),
        ("pareto:2.2:5k:1m", pareto_mean(2.2, 5e3, 1e6)),
    ],
)
def test_the_mean_duration_is_that_of_a_shared_processor(
    one_uplink: Policy, sizes: str, mean: float
) -> None:
    """M/G/1-PS: mean size / (capacity * (1 - load)), whatever the sizes' distribution
    (Kleinrock, "Queueing Systems" II, 4.4). The capacity is a million bytes per second."""
    load = 0.7
    report = simulate(
        one_uplink, 400_000, arrivals=f"poisson:{load * 1e6 / mean}", bytes=sizes,
        flow_rate=UNLIMITED, seed=3, keep=False,
    )  # fmt: skip
    assert report.durations.mean == pytest.approx(mean / 1e6 / (1 - load), rel=0.025)
    assert report.loads["only"].utilisation == pytest.approx(load, rel=0.01)


@pytest.mark.parametrize(
    ("weights", "visits"), [('["a", "b", "c"]', (4, 2, 1)), ("{ a = 1, b = 1, c = 1 }", (1, 1, 1))]
)
@pytest.mark.parametrize("sizes", ["constant:100k", "exponential:100k"])
def test_parallel_clients_over_independent_draws_are_a_closed_queueing_network(
    balanced: Callable[..., Policy], weights: str, visits: Sequence[int], sizes: str
) -> None:
    """Gordon & Newell 1967, and Baskett et al. 1975 for any distribution of sizes: throughput is
    G(N - 1) / G(N), with Buzen's convolution for G."""
    clients = 60
    sums = [1.0] + [0.0] * clients
    for visited, capacity in zip(visits, (20, 10, 5), strict=True):
        for n in range(1, clients + 1):
            sums[n] += sums[n - 1] * visited / sum(visits) / capacity
    expected = sums[clients - 1] / sums[clients]
    report = simulate(
        balanced("weighted", weights), 200_000, parallel=clients, bytes=sizes, seed=5, keep=False
    )
    assert report.throughput is not None
    assert report.throughput * 8e-6 == pytest.approx(expected, rel=0.02)


def model(flows: Sequence[FlowDecision], capacity: float, limit: float) -> tuple[float, float, int]:
    """Of flows on one link: when the last ends, the sum of their durations, most at once."""
    waiting = [(flow.time, float(flow.bytes)) for flow in flows]
    here: list[list[float]] = []
    now = total = 0.0
    most = 0
    while waiting or here:
        rate = min(limit, capacity / len(here)) if here else 0.0
        first = min((left / rate for _, left in here), default=float("inf"))
        step = min(first, waiting[0][0] - now) if waiting else first
        now += step
        for flow in here:
            flow[1] -= step * rate
        total += sum(now - began for began, left in here if left < 1e-6)
        here = [flow for flow in here if flow[1] >= 1e-6]
        while waiting and waiting[0][0] <= now + 1e-9:
            here.append(list(waiting.pop(0)))
        most = max(most, len(here))
    return now, total, most


@pytest.mark.parametrize("seed", range(4))
def test_an_uplink_shares_its_capacity_as_a_plain_model_does(one_uplink: Policy, seed: int) -> None:
    report = simulate(
        one_uplink, 300, arrivals="poisson:60", bytes="pareto:1.2:5k:1m", flow_rate="4mbit",
        seed=seed,
    )  # fmt: skip
    ended, total, most = model(report.decisions, 1e6, 5e5)
    assert report.seconds == pytest.approx(ended, abs=1e-6)
    assert report.durations.mean == pytest.approx(total / 300, rel=1e-6)
    assert report.loads["only"].most_flows == most


def test_what_an_uplink_bore_is_told(one_uplink: Policy) -> None:
    """A flow of 500,000 bytes each second over a link of a million per second."""
    report = simulate(
        one_uplink, 11, arrivals="constant:1", bytes="constant:500000", flow_rate=UNLIMITED
    )
    load = report.loads["only"]
    assert (report.seconds, report.flows) == (10.5, 11)
    assert (load.capacity, load.throughput, load.peak) == (1_000_000, 500_000, 500_000)
    assert (load.utilisation, load.most_flows) == (0.5, 1)
    assert load.durations.mean == pytest.approx(0.5)
    assert load.durations.median == pytest.approx(0.5, rel=0.01)
    assert load.durations.p95 == pytest.approx(0.5, rel=0.01)
    assert (report.offered, report.throughput) == (550_000, 500_000)
    assert report.durations == load.durations


def test_one_flow_gets_no_more_than_its_limit(one_uplink: Policy) -> None:
    report = simulate(one_uplink, 1, bytes="constant:1m", flow_rate="800kbit")
    assert report.seconds == pytest.approx(10.0)
    assert report.loads["only"].peak == 100_000
    assert report.throughput is None  # there is no time between the first flow and the last


def test_an_uplink_that_is_too_small_is_full_and_ends_late(one_uplink: Policy) -> None:
    report = simulate(one_uplink, 1000, arrivals="constant:100", bytes="constant:20000")
    load = report.loads["only"]
    assert report.seconds == pytest.approx(20.0)  # 20 million bytes at a million per second
    assert load.peak == 1_000_000
    assert load.utilisation == pytest.approx(1.0, rel=0.01)
    assert load.most_flows > 400


def test_parallel_clients_never_have_more_flows_than_there_are_clients(
    balanced: Callable[..., Policy],
) -> None:
    report = simulate(balanced("nth"), 5000, parallel=7, seed=1)
    assert max(load.most_flows for load in report.loads.values()) <= 7
    assert report.flows == 5000
