"""What happened over time and with whom, held against plain sums over the same packets."""

from __future__ import annotations

import random
import struct

import pytest
from capture_files import SECOND, at, ipv4, udp

from classifier.config import parse_policy
from classifier.replay import Replay

IN = "192.168.1.2"


def figures(policy, capture, **options):
    run = Replay(policy, seed=1, watch=True, **options)
    run.read(capture)
    return run.report()


def remote(number: int) -> str:
    return f"198.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def traffic(seed: int, seconds: float, flows: int = 200):
    """Datagrams of some flows both ways, at random times; the first one at 0."""
    chance = random.Random(seed)
    times = sorted([0.0, *(chance.random() * seconds for _ in range(flows * 4))])
    frames = []
    for when in times:
        number, size = chance.randrange(flows), chance.randrange(1400)
        there = ipv4(IN, remote(number), 17, udp(1024 + number, 443, bytes(size)))
        back = ipv4(remote(number), IN, 17, udp(443, 1024 + number, bytes(size)))
        frames.append(at(when, chance.choice((there, back))))
    return frames


def busiest(frames, mine) -> int:
    """Most bytes of ten tenths of a second in a row."""
    tenths: dict[int, int] = {}
    for frame in frames:
        if mine(frame):
            tenth = (frame.time - frames[0].time) // (SECOND // 10)
            tenths[tenth] = tenths.get(tenth, 0) + len(frame.data)
    return max((sum(tenths.get(start + i, 0) for i in range(10)) for start in tenths), default=0)


# Up to 51 s a span is a tenth of a second; the last two have been made of several.
@pytest.mark.parametrize("seconds", [0.5, 25, 900, 40_000])
@pytest.mark.parametrize("seed", [1, 2])
def test_loads_are_those_of_the_packets(raw, seconds, seed):
    text = """
[gateway]
lan = ["lan0"]
[uplinks.only]
interface = "eth0"
gateway = "192.0.2.1"
[[rules]]
name = "all"
use = "only"
"""
    # Whoever sends first is taken for inside, so what is `up` depends on the flow.
    frames = traffic(seed, seconds)
    report = figures(parse_policy(text), raw(frames))
    load, starts = report.figures.loads["only"], {}
    first = {}
    for frame in frames:
        key = frozenset((frame.data[12:16], frame.data[16:20]))
        first.setdefault(key, frame.data[12:16])
        starts[frame.time] = first[key] == frame.data[12:16]
    # Flows that are silent for long start again, from whichever side: those cannot be told so.
    if seconds < 30:
        assert sum(load.up) == sum(len(f.data) for f in frames if starts[f.time])
        assert load.peak_up == busiest(frames, lambda f: starts[f.time])
        assert load.peak_down == busiest(frames, lambda f: not starts[f.time])
    assert sum(load.up) + sum(load.down) == sum(len(frame.data) for frame in frames)
    assert sum(load.flows) == report.flows == report.uplinks["only"].flows
    assert len(load.flows) <= 512
    assert len(load.flows) * report.figures.span >= report.figures.seconds
    for at_span in range(len(load.flows)):
        carried = sum(
            len(frame.data)
            for frame in frames
            if int((frame.time - frames[0].time) // 1_000_000 / 1000 / report.figures.span + 1e-9)
            == at_span
        )
        assert load.up[at_span] + load.down[at_span] == carried


def test_rules_say_where_their_flows_went(policy, raw):
    packets = [ipv4(IN, remote(n), 17, udp(1000 + n, 443)) for n in range(5)]
    packets += [ipv4(IN, "10.0.0.1", 17, udp(1, 2)), ipv4(IN, "224.0.0.5", 17, udp(1, 2))]
    report = figures(policy, raw(at(n, packet) for n, packet in enumerate(packets)))
    ways = {rule.name: {w: a.flows for w, a in rule.ways.items()} for rule in report.figures.rules}
    assert ways == {
        "home": {"direct": 1},
        "no mail": {},
        "rest": {"a": 3, "b": 2},
        None: {"direct": 1},
    }


def test_remotes_are_named_with_all_they_had(policy, raw):
    sizes = {remote(number): 100 + 7 * number for number in range(30)}
    packets = [ipv4(IN, to, 17, udp(1, 2, bytes(size))) for to, size in sizes.items()]
    packets += [ipv4(IN, remote(29), 17, udp(3, 2)), ipv4("10.9.9.9", IN, 17, udp(3, 2))]
    report = figures(policy, raw(at(n, p) for n, p in enumerate(packets)), lan=["192.168.0.0/16"])
    found = report.figures.remotes
    assert report.figures.remotes_exact
    assert [r.address for r in found] == [remote(number) for number in range(29, 9, -1)]
    assert (found[0].flows, found[0].bytes, found[0].ways) == (2, 303 + 28 + 28, ("a", "b"))
    assert (found[1].flows, found[1].bytes, found[1].ways) == (1, 296 + 28, ("a",))


def test_the_same_replay_finds_the_same_remotes_and_breaks_among_too_many(policy, write):
    """More than are remembered, all alike: nothing but the seed says which are forgotten."""
    head = bytes.fromhex("d4c3b2a1020004000000000000000000ffff000065000000")
    frame = bytearray(struct.pack("<IIII", 0, 0, 28, 28) + ipv4(IN, remote(0), 17, udp(1, 443)))
    captures = bytearray(head)
    for number in range(2 * 300_001):
        struct.pack_into(">IH", frame, 32, 0xC6000000 + number % 300_001, 1 + number // 300_001)
        captures += frame
    capture = write(captures)
    one, other = (figures(policy, capture, keep=False).figures for _ in range(2))
    assert not one.remotes_exact
    assert one.remotes == other.remotes
    assert one.sticky_breaks == other.sticky_breaks > 1000


def test_remotes_with_much_traffic_are_found_among_very_many(policy, raw):
    # More than are remembered, and those with most bytes come first: they have to outlast the rest.
    packets = [ipv4(IN, remote(n), 17, udp(1, 2, bytes(1000 + n))) for n in range(10)]
    packets += [ipv4(IN, remote(n), 17, udp(1, 2)) for n in range(10, 20_000)]
    # Flows are counted when they end, so they have to end meanwhile.
    report = figures(policy, raw(at(n / 50, p) for n, p in enumerate(packets)))
    found = report.figures.remotes
    assert not report.figures.remotes_exact
    assert [r.address for r in found[:10]] == [remote(n) for n in range(9, -1, -1)]
    assert [r.bytes for r in found[:10]] == [1000 + n + 28 for n in range(9, -1, -1)]
