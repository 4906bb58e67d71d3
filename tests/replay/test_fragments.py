"""A datagram in fragments counts for its flow once it is whole."""

from __future__ import annotations

import itertools
import struct

import pytest
from capture_files import at, ipv4, ipv6, udp

from classifier.replay import replay

IN, OUT = "192.168.1.2", "198.51.100.7"
IN6, OUT6 = "2001:db8:5::2", "2001:db8:9::7"
MORE = 0x2000


def datagram(identity, *, size=3000, sport=5000, step=1480):
    """The IPv4 fragments of one UDP datagram."""
    data = udp(sport, 4500, bytes(size))
    return [
        ipv4(
            IN, OUT, 17, data[begin : begin + step], identity=identity,
            fragment=begin // 8 | (MORE if begin + step < len(data) else 0),
        )
        for begin in range(0, len(data), step)
    ]  # fmt: skip


def datagram6(identity, *, size=3000, step=1440):
    data = udp(5000, 4500, bytes(size))
    return [
        ipv6(
            IN6, OUT6, 44,
            struct.pack(">BBHI", 17, 0, begin | (begin + step < len(data)), identity)
            + data[begin : begin + step],
        )
        for begin in range(0, len(data), step)
    ]  # fmt: skip


@pytest.fixture
def track(policy, raw):
    def tracked(packets, step=0.001):
        return replay(policy, [raw(at(n * step, p) for n, p in enumerate(packets))], seed=1)

    return tracked


@pytest.mark.parametrize("fragments", [datagram(7), datagram6(7)], ids=["IPv4", "IPv6"])
def test_a_datagram_is_one_flow_in_whatever_order_its_fragments_come(track, fragments):
    assert len(fragments) == 3
    for order in itertools.permutations(fragments):
        report = track(order)
        (flow,) = report.decisions
        assert (flow.sport, flow.dport, flow.packets) == (5000, 4500, 3)
        assert flow.bytes == sum(map(len, fragments))
        assert report.untracked == 0
        # The flow begins when the kernel sees it: with the last of them.
        assert flow.time == pytest.approx(1_700_000_000.002)


@pytest.mark.parametrize("fragments", [datagram(7), datagram6(7)], ids=["IPv4", "IPv6"])
def test_a_datagram_that_lacks_a_fragment_starts_nothing(track, fragments):
    for missing in range(3):
        report = track(f for n, f in enumerate(fragments) if n != missing)
        assert (report.flows, report.untracked) == (0, 2)


def test_later_datagrams_of_the_flow_belong_to_it(track):
    report = track([*datagram(1), *datagram(2), ipv4(IN, OUT, 17, udp(5000, 4500))])
    assert [d.packets for d in report.decisions] == [7]


def test_datagrams_are_told_apart_by_their_identification(track):
    one, other = datagram(1, sport=5000), datagram(2, sport=6000)
    report = track([one[0], other[1], other[2], one[2], other[0], one[1]])
    assert [(d.sport, d.packets) for d in report.decisions] == [(6000, 3), (5000, 3)]


def test_a_fragment_that_comes_twice_is_counted_but_does_no_harm(track):
    one = datagram(1)
    report = track([one[0], one[0], one[2], one[2], one[1]])
    assert [d.packets for d in report.decisions] == [5]


def test_fragments_that_overlap_give_up_their_datagram(track):
    one = datagram(1)
    forged = ipv4(IN, OUT, 17, bytes(1480), identity=1, fragment=100 | MORE)
    report = track([one[0], forged, one[1], one[2]])
    assert report.flows == 0
    assert report.untracked == 4


def test_a_fragment_past_the_end_gives_up_its_datagram(track):
    one = datagram(1)
    beyond = ipv4(IN, OUT, 17, bytes(8), identity=1, fragment=1000 | MORE)
    for order in ([beyond, one[2], one[0], one[1]], [one[2], beyond, one[0], one[1]]):
        report = track(order)
        assert report.flows == 0
        assert report.untracked == 4


def test_fragments_longer_apart_than_the_kernel_waits_do_not_come_together(track):
    assert track(datagram(1), step=14.9).flows == 1
    assert track(datagram(1), step=15.1).flows == 0
    assert track(datagram6(1), step=29.9).flows == 1
    assert track(datagram6(1), step=30.1).flows == 0


def test_a_fragment_that_would_make_a_datagram_too_long_starts_nothing(track):
    ping_of_death = ipv4(IN, OUT, 17, bytes(1000), identity=1, fragment=0x1FFF)
    assert track([ping_of_death]).untracked == 1


def test_the_greatest_datagram_in_the_smallest_fragments_comes_together(track):
    pieces = datagram(1, size=65535 - 20 - 8, step=8)
    report = track(reversed(pieces))
    assert [d.packets for d in report.decisions] == [len(pieces)] == [8190]


def test_a_flood_of_first_fragments_forgets_the_oldest_only(track):
    flood = [datagram(n, sport=5000 + n)[0] for n in range(5000)]
    last = datagram(4999, sport=9999)[1:]
    first = datagram(0, sport=5000)[1:]
    report = track([*flood, *last, *first], step=0.0001)
    assert [d.sport for d in report.decisions] == [9999]
    assert report.untracked == 4999 + 2


def test_an_atomic_fragment_is_a_whole_datagram(track):
    body = struct.pack(">BBHI", 17, 0, 0, 9) + udp(5000, 53)
    assert track([ipv6(IN6, OUT6, 44, body)]).flows == 1
