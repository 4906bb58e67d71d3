"""What one LAN host visits does not make another one's remembered remotes change their uplink."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from model import Packet
from packets import render

from classifier import Classifier
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Sticky, Uplink

UPLINKS = tuple(
    Uplink(name, number, f"eth{number}", gateway6="auto") for number, name in enumerate("abc", 1)
)
MEMBERS = tuple(Member(uplink.name, 1) for uplink in UPLINKS)
FLOODER = 250
FLOOD = range(1_000_000, 1_200_000)
BASES = {4: (0xC0A80100, 0x08000000), 6: (0xFD << 120, 0x20010DB8 << 96)}


def classifier(by: str = "remote", size: int = 65536, seed: int = 1) -> Classifier:
    balancer = Balancer("all", "nth", MEMBERS, Sticky(by, 3600.0, size=size))
    return Classifier(
        Policy(Gateway(), Queue(), UPLINKS, (balancer,), (Rule("rest", "all"),)), seed=seed
    )


def visit(host: int, remote: int, time: int = 0, family: int = 4) -> bytes:
    """A flow of its own for each `time`."""
    local, far = BASES[family]
    return render(Packet(ip_address(local + host), ip_address(far + remote), 17, 1000 + time, 2))


def decide(c: Classifier, packets: list[bytes], now: float) -> list[tuple[str, str | None]]:
    return [(d.reason, d.uplink) for d in c.classify_many(packets, now)]


@pytest.mark.parametrize(
    ("times", "by", "family"), [(1, "remote", 4), (2, "remote", 4), (1, "local+remote", 6)]
)
def test_a_host_that_visits_200_000_remotes_moves_no_remote_of_the_others(times, by, family):
    c = classifier(by)
    theirs = [(host, 1000 * host + n) for host in range(1, 41) for n in range(300)]
    before = decide(c, [visit(*each, family=family) for each in theirs], 0.0)
    for time in range(times):
        for part in range(0, len(FLOOD), 10_000):
            remotes = FLOOD[part : part + 10_000]
            decide(c, [visit(FLOODER, r, time, family) for r in remotes], 10.0)
            decide(c, [visit(FLOODER, r, 7, family) for r in remotes], 10.0)
    again = decide(c, [visit(*each, time=9, family=family) for each in theirs], 20.0)
    assert again == [("sticky", uplink) for _, uplink in before]


@pytest.mark.parametrize("seed", range(3))
def test_remotes_visited_again_outlive_those_visited_once_by_the_same_host(seed):
    c = classifier(seed=seed)
    before = decide(c, [visit(1, remote) for remote in range(1000)], 0.0)
    decide(c, [visit(1, remote, 1) for remote in range(1000)], 0.0)
    decide(c, [visit(1, remote) for remote in FLOOD], 10.0)
    again = decide(c, [visit(1, remote, 2) for remote in range(1000)], 20.0)
    assert again == [("sticky", uplink) for _, uplink in before]


def test_a_remote_of_two_hosts_outlives_the_flood_of_the_one_that_visited_it_first():
    c = classifier()
    decide(c, [visit(FLOODER, remote) for remote in FLOOD[:60_000]], 0.0)
    shared = list(FLOOD[:300])
    before = decide(c, [visit(1, remote) for remote in shared], 0.0)
    assert {reason for reason, _ in before} == {"sticky"}
    for time in (1, 2):
        decide(c, [visit(FLOODER, remote, time) for remote in FLOOD[60_000:]], 10.0)
    assert decide(c, [visit(1, remote, 3) for remote in shared], 20.0) == before


def test_a_host_alone_may_use_the_whole_table():
    c = classifier(size=10_000)
    decide(c, [visit(1, remote) for remote in range(10_000)], 0.0)
    again = decide(c, [visit(1, remote, 1) for remote in range(10_000)], 1.0)
    assert {reason for reason, _ in again} == {"sticky"}


def test_a_flooded_table_still_remembers_whom_its_flooder_visits_next():
    c = classifier(size=1000)
    for host in range(1, 5):
        decide(c, [visit(host, 1000 * host + n) for n in range(100)], 0.0)
    for remote in FLOOD[:20_000]:
        first = c.classify(visit(FLOODER, remote), 1.0)
        again = c.classify(visit(FLOODER, remote, 1), 1.0)
        assert (again.reason, again.uplink) == ("sticky", first.uplink)
