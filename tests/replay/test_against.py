"""Two policies on the same captures: what each does alone, and where they differ."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from capture_files import RAW, SYN, at, ipv4, ipv6, pcap, tcp, udp
from replayed_policies import ALTERNATING

from classifier.config import parse_policy
from classifier.errors import UsageError
from classifier.replay import Replay, replay
from classifier.replay.against import byte_shares, pairs

IN, OUT = "192.168.1.2", "198.51.100.7"
STICKY = ALTERNATING.replace('method = "nth"', 'method = "nth"\nsticky = "remote"')
OTHER_NAMES = (
    ALTERNATING.replace("uplinks.a]", "uplinks.dsl]")
    .replace("uplinks.b]", "uplinks.lte]")
    .replace('["a", "b"]', '["dsl", "lte"]')
    .replace('to_ports = [25]\nuse = "drop"', 'to_ports = [53]\nuse = "dsl"')
)


def visits(*remotes: str, apart: float = 1.0):
    """Flows of one packet of 28 bytes each, to these remotes in turn."""
    return [
        at(number * apart, ipv4(IN, remote, 17, udp(1000 + number, 443)))
        for number, remote in enumerate(remotes)
    ]


def mixture(seed: int, flows: int = 300):
    """Flows of all kinds, both versions, with answers, some to mail servers and to 10/8."""
    chance = random.Random(seed)
    frames = []
    for number in range(flows):
        when, port = chance.random() * 900, 1024 + number
        remote = chance.choice((f"198.51.100.{chance.randrange(1, 30)}", "10.1.2.3"))
        target = chance.choice((25, 53, 443))
        if chance.random() < 0.2:
            head, there, back = ipv6, f"2001:db8::{chance.randrange(9)}", "2001:db8:2::5"
        else:
            head, there, back = ipv4, remote, IN
        if chance.random() < 0.5:
            frames.append(at(when, head(back, there, 6, tcp(port, target, SYN))))
            frames.append(at(when + 0.1, head(there, back, 6, tcp(target, port, 0x12))))
        else:
            data = bytes(chance.randrange(1200))
            frames.append(at(when, head(back, there, 17, udp(port, target))))
            frames.append(at(when + 0.1, head(there, back, 17, udp(target, port, data))))
    return sorted(frames, key=lambda frame: frame.time)


@pytest.mark.parametrize("lan", [[], ["192.168.0.0/16", "10.0.0.0/8"]], ids=["all", "lan"])
@pytest.mark.parametrize("other", [STICKY, OTHER_NAMES, ALTERNATING], ids=["sticky", "names", "="])
def test_each_policy_decides_as_it_does_alone(policy, raw, other, lan):
    against, capture = parse_policy(other), raw(mixture(5))
    both = replay(policy, capture, seed=3, against=against, lan=lan)
    for policy_alone, report in ((policy, both), (against, both.against.report)):
        alone = replay(policy_alone, capture, seed=3, lan=lan)
        assert report == alone
        assert list(report.decisions) == list(alone.decisions)


def test_flows_count_as_moved_when_they_go_another_way(policy, raw):
    capture = raw(mixture(6))
    report = replay(policy, capture, seed=3, against=parse_policy(OTHER_NAMES))
    found = list(pairs(report, report.against))
    moved = [pair for pair in found if pair.moved]
    assert 0 < len(moved) < report.flows == len(found)
    assert report.against.moved == len(moved) == sum(m.amount.flows for m in report.against.moves)
    assert report.against.moved_bytes == sum(pair.flow.bytes for pair in moved)
    # Uplinks of other names are other uplinks; what is direct in both is where it was.
    assert {pair.flow.uplink for pair in found if not pair.moved} == {None}
    assert all((p.flow.src, p.flow.bytes) == (p.other.src, p.other.bytes) for p in found)
    assert ("drop", "lte") in {(move.source, move.target) for move in report.against.moves}


def test_the_same_policy_moves_nothing(policy, raw):
    report = replay(policy, raw(mixture(7)), seed=3, against=policy)
    assert (report.against.moved, report.against.moves) == (0, ())


def test_shares_of_bytes_are_of_what_uplinks_carry(policy, raw):
    big = [at(1, ipv4(OUT, IN, 17, udp(443, 1000, bytes(1000))))]
    report = replay(policy, raw([*visits(OUT, OUT), *big]), seed=3)
    # Times do not go back: the answer belongs to the first flow, and counts when it comes.
    assert byte_shares(report) == {"a": 1056 / 1084, "b": 28 / 1084}


def test_the_busiest_second_is_found_wherever_it_begins(policy, raw):
    # 10 packets of 128 bytes, 0.1 s apart, from 0.7 s on: none of the clock's seconds has them all.
    frames = [at(0, ipv4(IN, OUT, 17, udp(1, 2)))]
    frames += [
        at(0.7 + number / 10, ipv4(OUT, IN, 17, udp(2, 1, bytes(100)))) for number in range(10)
    ]
    load = replay(policy, raw(frames), seed=1, against=policy).figures.loads["a"]
    assert (load.peak_down, load.peak_up) == (1280, 28)
    assert (sum(load.down), sum(load.up), sum(load.flows)) == (1280, 28, 1)


@pytest.mark.parametrize(
    ("text", "remotes", "apart", "breaks"),
    [
        (ALTERNATING, [OUT] * 4, 1.0, 3),
        (STICKY, [OUT] * 4, 1.0, 0),
        # The default timeout, ten minutes, is what a balancer without entries is judged by.
        (ALTERNATING, [OUT] * 4, 599.0, 3),
        (ALTERNATING, [OUT] * 4, 601.0, 0),
        (ALTERNATING, [OUT, "198.51.100.8"] * 3, 1.0, 0),
        (ALTERNATING, ["10.0.0.1"] * 4, 1.0, 0),
    ],
)
def test_a_sticky_break_is_a_remote_that_changes_uplink_too_soon(raw, text, remotes, apart, breaks):
    run = Replay(parse_policy(text), seed=1, watch=True)
    run.read(raw(visits(*remotes, apart=apart)))
    assert run.report().figures.sticky_breaks == breaks


def test_both_policies_are_judged_by_the_one_that_remembers(raw):
    remembers = STICKY.replace('sticky = "remote"', 'sticky = { timeout = "1h", prefix4 = 24 }')
    capture = raw(visits(OUT, "198.51.100.8", OUT, "198.51.100.9", apart=1200))
    report = replay(parse_policy(ALTERNATING), capture, seed=1, against=parse_policy(remembers))
    assert report.figures.sticky_breaks == 3
    assert report.against.report.figures.sticky_breaks == 0


def test_an_uplink_that_fails_fails_for_both_policies(raw):
    capture = raw(visits(OUT, OUT, OUT, OUT, apart=10))
    report = replay(
        parse_policy(ALTERNATING), capture, seed=1, at=["5s a down"], against=parse_policy(STICKY)
    )
    ways = [(pair.flow.uplink, pair.other.uplink) for pair in pairs(report, report.against)]
    assert ways == [("a", "a"), ("b", "b"), ("b", "b"), ("b", "b")]
    assert report.against.report.figures.sticky_breaks == 1


def test_an_event_may_name_an_uplink_of_either_policy(raw):
    capture = raw(visits(OUT, OUT, apart=10))
    both = {"against": parse_policy(OTHER_NAMES), "seed": 1}
    report = replay(parse_policy(ALTERNATING), capture, at=["5s lte down"], **both)
    assert [pair.other.uplink for pair in pairs(report, report.against)] == ["dsl", "dsl"]
    with pytest.raises(UsageError, match="no uplink 'none'"):
        replay(parse_policy(ALTERNATING), capture, at=["5s none down"], **both)


def test_a_data_connection_follows_its_control_connection_in_both(raw):
    helped = ALTERNATING.replace('["lan0"]', '["lan0"]\nhelpers = ["ftp"]')
    control = [
        ipv4(IN, OUT, 6, tcp(1000, 21, SYN)),
        ipv4(OUT, IN, 6, tcp(21, 1000, 0x12, seq=0, ack=2)),
        ipv4(IN, OUT, 6, tcp(1000, 21, 0x10, seq=2)),
        ipv4(OUT, IN, 6, tcp(21, 1000, 0x18, b"220 x\r\n", seq=1, ack=2)),
        ipv4(OUT, IN, 6, tcp(21, 1000, 0x18, b"227 x (198,51,100,7,200,10)\r\n", seq=8, ack=2)),
    ]
    data = ipv4(IN, OUT, 6, tcp(1001, 200 * 256 + 10, SYN))
    frames = [at(number / 10, packet) for number, packet in enumerate([*control, data])]
    other = OTHER_NAMES.replace("to_ports = [53]", "to_ports = [21]").replace('"dsl"\n', '"lte"\n')
    report = replay(parse_policy(helped), raw(frames), seed=1, against=parse_policy(other))
    ways = [(pair.flow.uplink, pair.other.uplink) for pair in pairs(report, report.against)]
    assert ways == [("a", "lte"), ("a", "lte")]
    assert report.decisions[1].reason == report.against.report.decisions[1].reason == "related"


STREAM = """
import resource, sys
from classifier.config import parse_policy
from classifier.replay import Replay
policy, other = map(parse_policy, sys.argv[1:])
run = Replay(policy, seed=1, keep=False, against=other)
run.read("-")
print(run.report().flows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def kilobytes(flows: int) -> int:
    """At most held by a comparison of so many flows, ten a second, each to a remote of its own."""
    data = pcap([], link=RAW) + b"".join(
        pcap(
            [at(number / 10, ipv4(IN, f"198.{number >> 16}.{number >> 8 & 255}.{number & 255}", 17,
                                  udp(1000, 443)))],
            link=RAW,
        )[24:]
        for number in range(flows)
    )  # fmt: skip
    command = [sys.executable, "-c", STREAM, ALTERNATING, STICKY]
    done = subprocess.run(command, input=data, capture_output=True, check=True, timeout=120)
    counted, most = map(int, done.stdout.split())
    assert counted == flows
    return most


def test_memory_does_not_grow_with_the_number_of_flows():
    # Both have filled the tables, which have an end, before.
    assert kilobytes(150_000) - kilobytes(75_000) < 8192
