"""Methods of users: asked for new flows only, and whatever they do wrong, flows are placed."""

from __future__ import annotations

import re
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest
from custom_methods import Blocking, Counting, Elsewhere, First, Raising
from probes import ByAddressInCython, WaitingInCython
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from classifier import Classifier
from classifier.engine import custom
from classifier.engine.load_meter import UplinkLoad
from classifier.errors import UsageError
from classifier.policy import (
    Balancer,
    Capacity,
    Gateway,
    Member,
    Policy,
    Queue,
    Rule,
    Sticky,
    Uplink,
)

UPLINKS = (
    Uplink("wired", 1, "eth0", gateway6="auto", capacity=Capacity(1_000_000, 500_000)),
    Uplink("wifi1", 2, "eth1", weight=2),
    Uplink("wifi2", 3, "eth2", gateway6="auto"),
)
MEMBERS = tuple(Member(uplink.name, uplink.weight, tier=1) for uplink in UPLINKS)


def policy(method: type, *, sticky: Sticky | None = None, **options: object) -> Policy:
    balancer = Balancer(
        "all", f"custom_methods:{method.__name__}", MEMBERS, sticky, options=options, custom=method
    )
    gateway = Gateway(lan=("lan0",))
    return Policy(gateway, Queue(), UPLINKS, (balancer,), (Rule("rest", "all"),))


def udp(
    sport: int = 40000, dst: str = "8.8.8.8", src: str = "10.0.0.5", size: int = 0, dport: int = 53
) -> bytes:
    ip = IPv6(src=src, dst=dst) if ":" in dst else IP(src=src, dst=dst, tos=0xB8)
    return bytes(ip / UDP(sport=sport, dport=dport) / bytes(size))


def made(classifier: Classifier) -> object:
    (method,) = classifier.engine.methods_of_users()
    return method.made


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def errors(classifier: Classifier) -> int:
    return classifier.counters().balancers["all"].errors


def test_a_method_is_told_the_flow_and_says_where_it_goes() -> None:
    c = Classifier(policy(First, prefer="wifi2"), seed=1)
    decision = c.classify(udp(size=100), 12.5, "lan0")
    assert (decision.uplink, decision.reason, decision.mark) == ("wifi2", "custom", 0x300)
    c.classify(udp(1, "2001:db8::1", "fd00::5"), 12.5, user=1000)
    method = made(c)
    first, second = method.flows
    assert (first.family, first.protocol, first.src, first.dst) == (
        4, 17, ip_address("10.0.0.5"), ip_address("8.8.8.8"),
    )  # fmt: skip
    assert (first.sport, first.dport, first.in_interface) == (40000, 53, "lan0")
    assert (first.dscp, first.size, first.user) == (46, 128, None)
    assert (second.family, second.dst, second.user) == (6, ip_address("2001:db8::1"), 1000)
    assert second.in_interface is None
    assert method.times == [12.5, 12.5]
    with pytest.raises(AttributeError):
        first.sport = 1
    assert errors(c) == 0


def test_a_method_is_prepared_with_a_seed_of_its_own_before_it_is_asked() -> None:
    names = tuple(uplink.name for uplink in UPLINKS)
    seeds = {made(Classifier(policy(First), seed=seed)).prepared for seed in (1, 1, 2)}
    assert {uplinks for uplinks, _ in seeds} == {names}
    assert len(seeds) == 2


def test_it_is_given_only_the_uplinks_that_can_take_the_flow() -> None:
    c = Classifier(policy(First), seed=1)
    c.set_up("wired", False)
    assert c.classify(udp(1), 0.0).uplink == "wifi1"
    assert c.classify(udp(1, "2001:db8::1", "fd00::5"), 0.0).uplink == "wifi2"
    c.set_up("wired", True)
    assert c.classify(udp(2), 0.0).uplink == "wired"
    for uplink in UPLINKS:
        c.set_up(uplink.name, False)
    assert c.classify(udp(3), 0.0).reason == "fallback"
    assert errors(c) == 0


@pytest.mark.parametrize("sticky", [None, Sticky(), Sticky("local+remote")])
def test_it_is_asked_once_for_a_flow_and_not_where_a_table_knows(sticky: Sticky | None) -> None:
    c = Classifier(policy(First, sticky=sticky), seed=1)
    batch = [udp(1)] * 5 + [udp(2)] * 5 + [udp(3, "9.9.9.9")]
    reasons = [decision.reason for decision in c.classify_many(batch, 0.0)]
    second = "sticky" if sticky else "custom"
    assert reasons == ["custom", *["in-flight"] * 4, second, *["in-flight"] * 4, "custom"]
    assert len(made(c).flows) == (2 if sticky else 3)
    c.classify_many(batch, 1.0)
    assert len(made(c).flows) == (2 if sticky else 3)
    assert errors(c) == 0


def test_flows_of_one_batch_count_for_those_behind_them() -> None:
    c = Classifier(policy(Counting), seed=1)
    c.classify_many([udp(sport) for sport in range(1, 61)], 0.0)
    assert c.counters().uplinks == {"wired": 20, "wifi1": 20, "wifi2": 20}


def test_figures_of_uplinks_are_those_of_the_moment() -> None:
    seen = []

    class Looking:
        def select(self, flow, uplinks, now):
            seen.append(
                [(u.name, u.weight, u.flows, u.rate, u.capacity, u.latency) for u in uplinks]
            )
            return uplinks[0]

    c = Classifier(policy(Looking), seed=1)
    c.classify(udp(1), 0.0)
    load = UplinkLoad(down=1000.0, up=900.0, latency=0.02)
    c.engine.set_loads({"wired": load, "wifi1": load}, expected=(50.0, 60.0))
    c.classify(udp(2), 0.0)
    c.classify(udp(3), 0.0)
    assert seen[0][0] == ("wired", 1, 0, None, 1e6, None)
    # Up is fuller: 900 of 500,000.
    assert seen[1] == [
        ("wired", 1, 1, 900.0, 5e5, 0.02), ("wifi1", 2, 0, 1000.0, None, 0.02),
        ("wifi2", 1, 0, None, None, None),
    ]  # fmt: skip
    assert seen[2][0] == ("wired", 1, 2, 960.0, 5e5, 0.02)


@pytest.mark.parametrize(
    ("method", "why"),
    [
        (Raising, r"RuntimeError: no idea \(.*custom_methods.py, line "),
        (Elsewhere, "'wired', which is none"),
    ],
)
def test_flows_of_a_method_that_fails_go_by_the_weights(method: type, why: str) -> None:
    c = Classifier(policy(method, sticky=Sticky()), seed=1)
    decisions = c.classify_many([udp(1, f"8.8.{n // 250}.{n % 250}") for n in range(1000)], 0.0)
    assert {decision.reason for decision in decisions} == {"weighted"}
    assert 400 < c.counters().uplinks["wifi1"] < 600
    found = c.counters().balancers["all"]
    assert (found.errors, found.entries) == (1000, 1000)
    assert re.search(why, found.last_error or "")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_a_slow_method_has_no_time_for_goes_by_the_weights() -> None:
    clock = Clock()

    class Slow:
        calls = 0

        def select(self, flow, uplinks, now):
            Slow.calls += 1
            clock.now += custom.LONGEST / 4.5
            return uplinks[0]

    c = Classifier(policy(Slow), seed=1)
    c.engine.clock = clock
    reasons = [d.reason for d in c.classify_many([udp(n) for n in range(256)], 0.0)]
    assert reasons == ["custom"] * 5 + ["weighted"] * 251
    assert errors(c) == 251
    for batch in range(1, custom.MOST_LATE):
        c.classify_many([udp(batch * 1000 + n) for n in range(256)], 0.0)
    assert Slow.calls == 5 * custom.MOST_LATE
    # It is left alone for a while then, and asked again.
    assert c.classify(udp(5000), 1.0).reason == "weighted"
    assert c.classify(udp(5001), 1.0 + custom.SUSPENDED / 1000).reason == "custom"


def test_without_a_clock_the_time_of_a_method_decides_nothing() -> None:
    """So that a capture is replayed to the same decisions on any machine."""
    c = Classifier(policy(First), seed=1)
    assert c.engine.clock is None


def test_a_call_that_does_not_come_back_holds_up_nobody_else() -> None:
    c = Classifier(policy(Blocking), seed=1)
    c.engine.clock = time.monotonic
    method = made(c)
    waiting = threading.Thread(target=c.engine.decide_one, args=(udp(1), 0, -1, 0))
    waiting.start()
    assert method.entered.wait(30)
    try:
        # Other threads, by the weights; counters, states of uplinks, another policy.
        c.engine.decide_one(udp(2), 0, -1, 0)
        assert errors(c) == 1
        assert c.engine.methods_of_users()[0].busy_since is not None
        c.set_up("wired", False)
        c.engine.replace_policy(replace(c.policy, rules=(Rule("none", "drop"),)))
    finally:
        method.go_on.set()
        waiting.join(30)
    assert not waiting.is_alive()
    assert c.engine.methods_of_users()[0].busy_since is None
    # The policy changed meanwhile, so that the flow was decided by the new one.
    assert c.counters().dropped == 1


def test_one_in_cython_that_takes_long_holds_up_nobody_else() -> None:
    """The engine's lock is free meanwhile, and the method stays until the call has come back."""
    c = Classifier(policy(WaitingInCython), seed=1)
    method = made(c)
    there = weakref.ref(method)
    waiting = threading.Thread(target=c.engine.decide_one, args=(udp(1, dport=99), 0, -1, 0))
    waiting.start()
    try:
        wait_until(lambda: method.waiting)
        # Another thread's flow, by the same method; counters, states of uplinks, other policies.
        assert c.engine.decide_one(udp(2), 0, -1, 0) == (0, 0x100)
        assert c.counters().uplinks["wired"] == 1
        c.set_up("wired", False)
        c.engine.replace_policy(policy(First, prefer="wifi1"))
        c.engine.replace_policy(policy(First, prefer="wifi2"))
        assert method.waiting
        method = made(c)
    finally:
        there().go_on = 1
        waiting.join(30)
    assert not waiting.is_alive()
    # The policy changed meanwhile, so that the flow was decided by the new one.
    assert [flow.sport for flow in method.flows] == [1]
    assert c.counters().uplinks == {"wired": 1, "wifi1": 0, "wifi2": 1}
    c.engine.replace_policy(policy(First))
    assert there() is None


def test_a_reload_keeps_a_method_that_is_as_before_and_makes_others_anew() -> None:
    c = Classifier(policy(First, prefer="wifi1"), seed=1)
    kept = made(c)
    c.engine.replace_policy(replace(c.policy, rules=(Rule("other", "all"),)))
    assert made(c) is kept
    c.engine.replace_policy(policy(First, prefer="wifi2"))
    assert made(c) is not kept
    assert c.classify(udp(1), 0.0).uplink == "wifi2"
    builtin = replace(c.policy.balancers[0], method="nth", custom=None, options={})
    c.engine.replace_policy(replace(c.policy, balancers=(builtin,)))
    assert c.engine.methods_of_users() == []
    assert c.classify(udp(2), 0.0).reason == "nth"
    c.engine.replace_policy(policy(First))
    assert c.classify(udp(3), 0.0).reason == "custom"


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_where_the_new_method_cannot_be_made_the_old_goes_on(kind: type[BaseException]) -> None:
    class Refusing(First):
        def prepare(self, uplinks, seed):
            raise kind("not today")

    c = Classifier(policy(First), seed=1)
    before = made(c)
    with pytest.raises(UsageError, match=r"balancer all: method .*: not today"):
        c.engine.replace_policy(policy(Refusing))
    assert made(c) is before
    assert c.classify(udp(1), 0.0).reason == "custom"


def test_a_fallback_to_a_method_of_ones_own_asks_it() -> None:
    own = policy(First, sticky=Sticky())
    before = Balancer("before", "nth", (MEMBERS[2],), fallback="all")
    c = Classifier(
        replace(own, balancers=(before, *own.balancers), rules=(Rule("rest", "before"),)), seed=1
    )
    c.set_up("wifi2", False)
    for sport in (1, 2):
        assert c.classify(udp(sport), 0.0).reason == "fallback"
    assert len(made(c).flows) == 1
    assert errors(c) == 0


@pytest.mark.parametrize("method", [Counting, ByAddressInCython])
def test_several_threads_get_one_decision_for_one_flow(method: type) -> None:
    c = Classifier(policy(method, sticky=Sticky("remote", size=100000)), seed=1)
    packets = [udp(100 + n, str(IPv4Address(0x08000000 + n))) for n in range(300)]
    marks: list[list[int]] = []

    def work() -> None:
        marks.append([c.engine.decide_one(packet, 0, -1, 0)[1] for packet in packets * 3])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(marks) == 3
    for flow in range(300):
        assert len({found[flow + again] for found in marks for again in (0, 300, 600)}) == 1
    assert errors(c) == 0


def test_policies_that_come_and_go_while_methods_are_asked_lose_no_flow() -> None:
    first, other = policy(First, prefer="wifi1"), policy(Counting, sticky=Sticky())
    builtin = replace(first.balancers[0], method="nth", custom=None, options={})
    c = Classifier(first, seed=1)
    marks: set[int] = set()
    placed = [0, 0, 0]
    ended = threading.Event()

    def work(number: int) -> None:
        while not ended.is_set():
            n = placed[number]
            packet = udp(n % 50000, str(IPv4Address(0x08000000 + (number << 24) + n)))
            marks.add(c.engine.decide_one(packet, 0, -1, 0)[1])
            placed[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    policies = [
        other, policy(WaitingInCython), replace(first, balancers=(builtin,)), first,
    ]  # fmt: skip
    turn, deadline = 0, time.monotonic() + 60
    while (turn < 12 or len(marks) < 3) and time.monotonic() < deadline:
        c.engine.replace_policy(policies[turn % 4])
        c.set_up("wifi2", turn % 2 == 0)
        turn += 1
    ended.set()
    for thread in threads:
        thread.join()
    counters = c.counters()
    assert sum(counters.uplinks.values()) == sum(placed)
    assert marks == {0x100, 0x200, 0x300}
    assert (counters.direct, errors(c)) == (0, 0)
