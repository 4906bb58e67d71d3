"""The traffic that is simulated is the traffic that was asked for.

Seeds are fixed, so these either always pass or never do; bounds are those that one in a million
seeds would miss.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from itertools import pairwise

import pytest

from classifier import simulate
from classifier.policy import Policy
from classifier.replay import FlowDecision

FLOWS = 50_000
SIGMAS = 4.9


def flows(policy: Policy, **wanted: object) -> Sequence[FlowDecision]:
    return simulate(policy, FLOWS, seed=11, **wanted).decisions  # type: ignore[arg-type]


def farthest(values: list[float], below: Callable[[float], float]) -> float:
    """The Kolmogorov-Smirnov distance to a distribution function, times the root of how many."""
    ordered = sorted(values)
    count = len(ordered)
    return math.sqrt(count) * max(
        max((i + 1) / count - below(value), below(value) - i / count)
        for i, value in enumerate(ordered)
    )


def near_expected(counts: Counter[object], chances: dict[object, float]) -> bool:
    """Whether each count is within `SIGMAS` standard deviations of a binomial count."""
    total = counts.total()
    return counts.keys() <= chances.keys() and all(
        abs(counts[key] - total * p) <= SIGMAS * math.sqrt(total * p * (1 - p))
        for key, p in chances.items()
    )


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.1, 3.0])
def test_remotes_follow_zipfs_law(one_uplink: Policy, exponent: float) -> None:
    found = flows(one_uplink, remotes=f"zipf:{exponent}:1000")
    counts = Counter(flow.dst for flow in found)
    weights = [rank**-exponent for rank in range(1, 1001)]
    chances = [weight / sum(weights) for weight in weights]
    assert len(counts) <= 1000
    # The first ranks are told apart by their counts; the rest by how many flows it has.
    ranked = Counter({rank: n for rank, (_, n) in enumerate(counts.most_common(5))})
    ranked["rest"] = FLOWS - ranked.total()
    if exponent >= 1:
        assert near_expected(ranked, {**dict(enumerate(chances[:5])), "rest": 1 - sum(chances[:5])})
    # Of every exponent: how many remotes are seen at all.
    seen = [1 - (1 - chance) ** FLOWS for chance in chances]
    spread = math.sqrt(sum(p * (1 - p) for p in seen))
    assert abs(len(counts) - sum(seen)) <= SIGMAS * spread + 1


def test_uniform_remotes_are_all_alike(one_uplink: Policy) -> None:
    counts = Counter(flow.dst for flow in flows(one_uplink, remotes="uniform:50"))
    assert len(counts) == 50
    assert near_expected(counts, dict.fromkeys(counts, 1 / 50))


def test_remotes_are_public_addresses_all_over_the_internet(one_uplink: Policy) -> None:
    found = {flow.dst for flow in flows(one_uplink, remotes="uniform:1000000000")}
    addresses = [ip_address(text) for text in found]
    assert all(address.is_global and not address.is_multicast for address in addresses)
    assert FLOWS - len(found) < 10  # two of a thousand million are seldom the same
    assert len({int(address) >> 24 for address in addresses}) == 223 - 2  # without 10 and 127


def test_flows_begin_as_a_poisson_process(one_uplink: Policy) -> None:
    times = [flow.time for flow in flows(one_uplink, arrivals="poisson:50")]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert farthest(gaps, lambda gap: 1 - math.exp(-50 * gap)) < 2.7
    # Gaps that do not depend on each other: as many flows in each second as Poisson says.
    in_second = Counter(int(time) for time in times)
    del in_second[int(times[-1])]
    counts = Counter(min(max(n, 37), 63) for n in in_second.values())
    chances = {n: math.exp(-50) * 50**n / math.factorial(n) for n in range(150)}
    expected = {n: chances[n] for n in range(38, 63)}
    expected[37] = sum(chances[n] for n in range(38))
    expected[63] = sum(chances[n] for n in range(63, 150))
    assert near_expected(counts, expected)


def test_flows_begin_at_a_constant_rate(one_uplink: Policy) -> None:
    found = flows(one_uplink, arrivals="constant:4")
    assert [flow.time for flow in found[:4]] == [0.0, 0.25, 0.5, 0.75]


def test_sizes_follow_paretos_law_between_its_bounds(one_uplink: Policy) -> None:
    sizes = [flow.bytes for flow in flows(one_uplink, bytes="pareto:1.2:10k:1g")]

    def below(size: float) -> float:
        return (1 - (10_000 / size) ** 1.2) / (1 - 1e-5**1.2)

    assert min(sizes) >= 10_000 and max(sizes) <= 1_000_000_000
    # A size is the whole number below what was drawn, half a byte below on average.
    assert farthest([size + 0.5 for size in sizes], below) < 2.7


def test_sizes_are_exponential(one_uplink: Policy) -> None:
    sizes = [flow.bytes for flow in flows(one_uplink, bytes="exponential:1m")]
    assert farthest([size + 0.5 for size in sizes], lambda size: 1 - math.exp(-size / 1e6)) < 2.7


def test_packets_are_as_many_as_hold_the_bytes(one_uplink: Policy) -> None:
    for size, packets in (("1", 1), ("1500", 1), ("1501", 2), ("15000", 10)):
        assert simulate(one_uplink, 1, bytes=f"constant:{size}").packets == packets


def test_ports_have_their_weights(one_uplink: Policy) -> None:
    found = flows(one_uplink, ports="tcp/443:7,udp/443:2, tcp/80")
    counts = Counter((flow.protocol, flow.dport) for flow in found)
    assert near_expected(counts, {("tcp", 443): 0.7, ("udp", 443): 0.2, ("tcp", 80): 0.1})


def test_hosts_are_the_first_of_the_lan_and_all_alike(one_uplink: Policy) -> None:
    counts = Counter(flow.src for flow in flows(one_uplink, hosts=20, lan="10.7.0.0/24"))
    assert near_expected(counts, {f"10.7.0.{n}": 0.05 for n in range(1, 21)})


def test_an_ipv6_lan_makes_ipv6_flows(balanced: Callable[..., Policy]) -> None:
    report = simulate(balanced("nth"), 2000, lan="2001:db8:1::/64", remotes="uniform:1000000000")
    assert {flow.src for flow in report.decisions} <= {f"2001:db8:1::{n:x}" for n in range(1, 101)}
    remotes = [ip_address(flow.dst) for flow in report.decisions]
    assert len(set(remotes)) == 2000
    assert all(remote in ip_network("2a00::/16") for remote in remotes)
    assert report.share("a") == 1  # the only one with an IPv6 gateway


def test_no_flow_is_taken_for_another_that_is_still_in_flight(one_uplink: Policy) -> None:
    """One host that visits one remote has 5 seconds of ports before one comes again."""
    report = simulate(
        one_uplink, 60_000, hosts=1, remotes="uniform:1", ports="tcp/443",
        arrivals="constant:10000", bytes="constant:1", seed=1,
    )  # fmt: skip
    assert {flow.reason for flow in report.decisions} == {"pinned"}
