"""Which packets start a flow, and which belong to one, as conntrack has it."""

from __future__ import annotations

import pytest
from capture_files import (
    ACK,
    FIN_ACK,
    RST,
    RST_ACK,
    SYN,
    SYN_ACK,
    at,
    echo,
    icmp,
    ipv4,
    ipv6,
    tcp,
    udp,
)

from classifier.replay import replay

IN, OUT = "192.168.1.2", "198.51.100.7"
IN6, OUT6 = "2001:db8:5::2", "2001:db8:9::7"


def there(flags, seq=1, ack=1, body=b""):
    return ipv4(IN, OUT, 6, tcp(40000, 443, flags, body, seq=seq, ack=ack))


def back(flags, seq=1, ack=1, body=b""):
    return ipv4(OUT, IN, 6, tcp(443, 40000, flags, body, seq=seq, ack=ack))


def udp_there(sport=5000, body=b""):
    return ipv4(IN, OUT, 17, udp(sport, 4500, body))


def udp_back(sport=5000):
    return ipv4(OUT, IN, 17, udp(4500, sport))


@pytest.fixture
def track(policy, raw):
    """Replays packets given as (seconds, packet)."""
    return lambda *packets: replay(policy, [raw([at(*packet) for packet in packets])], seed=1)


def starts(report):
    """When flows began, in seconds, and how many packets each has."""
    return [(round(d.time - 1_700_000_000, 3), d.packets) for d in report.decisions]


def test_both_directions_are_one_flow_of_whoever_came_first(track):
    report = track((0, there(SYN)), (1, back(SYN_ACK)), (2, there(ACK)), (3, back(ACK, body=b"hi")))
    (flow,) = report.decisions
    assert (flow.protocol, flow.src, flow.sport, flow.dst, flow.dport) == (
        "tcp", IN, 40000, OUT, 443,
    )  # fmt: skip
    assert (flow.packets, flow.bytes) == (4, 162)
    assert report.untracked == 0


def test_a_connection_in_the_middle_is_picked_up_by_an_ack(track):
    assert starts(track((0, back(ACK)), (1, there(ACK)), (2, there(FIN_ACK)))) == [(0, 3)]


@pytest.mark.parametrize("flags", [SYN_ACK, FIN_ACK, RST, RST_ACK, 0, 0x03, 0x06, 0x29, 0x3F, 0x20])
def test_other_tcp_packets_start_nothing(track, flags):
    report = track((0, there(flags)), (1, there(flags)))
    assert (report.flows, report.untracked, report.malformed) == (0, 2, 0)


def test_a_refused_connection_is_over_at_once(track):
    report = track((0, there(SYN)), (0.1, back(RST_ACK)), (0.2, there(SYN)), (0.3, back(RST_ACK)))
    assert starts(report) == [(0, 2), (0.2, 2)]


def test_a_port_used_again_after_its_connection_was_closed_starts_a_flow(track):
    closing = [
        (0, there(SYN)), (1, back(SYN_ACK)), (2, there(ACK)), (3, there(FIN_ACK)),
        (4, back(FIN_ACK)), (5, there(ACK)),
    ]  # fmt: skip
    assert starts(track(*closing, (6, there(SYN)))) == [(0, 6), (6, 1)]
    # A repeated last ACK belongs to the old one; after the time-wait, an ACK is a new pick-up.
    assert starts(track(*closing, (6, there(ACK)))) == [(0, 7)]
    assert starts(track(*closing, (124.9, back(ACK)), (245, there(ACK)))) == [(0, 7), (245, 1)]


def test_a_syn_into_a_living_connection_is_part_of_it(track):
    opened = [(0, there(SYN)), (1, back(SYN_ACK)), (2, there(ACK))]
    assert starts(track(*opened, (3, there(SYN)), (4, back(ACK)))) == [(0, 5)]
    # Reset by the other side: only its own side may reopen at once.
    reset = [*opened, (3, back(RST))]
    assert starts(track(*reset, (4, there(SYN)))) == [(0, 5)]
    assert starts(track(*reset, (13.1, there(SYN)))) == [(0, 4), (13.1, 1)]
    assert starts(track(*opened, (3, there(RST)), (4, there(SYN)))) == [(0, 4), (4, 1)]


def test_an_ignored_syn_that_is_answered_brings_the_connection_back(track):
    packets = [
        (0, there(SYN)), (1, back(SYN_ACK)), (2, there(ACK)), (3, back(RST)),
        (4, there(SYN, seq=700)), (5, back(SYN_ACK, ack=701)), (6, there(ACK)),
        (1000, there(ACK)),
    ]  # fmt: skip
    assert starts(track(*packets)) == [(0, 8)]
    packets[5] = (5, back(SYN_ACK, ack=999))
    assert starts(track(*packets)) == [(0, 7), (1000, 1)]


@pytest.mark.parametrize(
    ("packets", "idle"),
    [
        ([there(SYN)], 120),
        ([there(SYN), back(SYN_ACK)], 60),
        ([there(SYN), back(SYN_ACK), there(ACK)], 432000),
        ([there(SYN), back(SYN_ACK), there(ACK), there(FIN_ACK)], 120),
        ([there(SYN), back(SYN_ACK), there(ACK), there(FIN_ACK), back(ACK)], 60),
        ([there(SYN), back(SYN_ACK), there(ACK), there(FIN_ACK), back(FIN_ACK)], 30),
        ([there(ACK)], 300),
        ([there(SYN), back(SYN)], 120),
        ([udp_there()], 30),
        ([udp_there(), udp_back()], 30),
        ([ipv4(IN, OUT, 1, echo(8, 9))], 30),
        ([ipv4(IN, OUT, 47, bytes(8))], 30),
        ([ipv4(IN, OUT, 47, bytes(8)), ipv4(OUT, IN, 47, bytes(8))], 30),
        ([ipv4(IN, OUT, 50, bytes(8))], 600),
    ],
)
def test_an_idle_flow_is_forgotten_after_the_time_of_its_state(track, packets, idle):
    lines = [(0.1 * number, packet) for number, packet in enumerate(packets)]
    last = lines[-1][0]
    # What always belongs to a flow, and starts one where there is none.
    probe = there(ACK) if packets[0][9] == 6 else packets[0]
    if probe == there(ACK) and len(packets) == 1 and packets[0] == there(SYN):
        probe = there(SYN)
    before = track(*lines, (last + idle - 0.01, probe))
    after = track(*lines, (last + idle + 0.01, probe))
    assert before.flows == 1
    assert after.flows == 2


def test_an_answered_udp_flow_lives_longer_once_it_has_gone_on_for_two_seconds(track):
    packets = [(0, udp_there()), (1, udp_back()), (2.5, udp_there())]
    assert starts(track(*packets, (122.4, udp_back()))) == [(0, 4)]
    assert starts(track(*packets, (122.6, udp_there()))) == [(0, 3), (122.6, 1)]
    assert starts(track((0, udp_there()), (1, udp_there()), (2.5, udp_there()), (33, udp_there())))[
        1:
    ] == [(33, 1)]


def test_an_unanswered_udp_flow_stays_one_while_it_goes_on(track):
    assert starts(track(*((n * 29.0, udp_there()) for n in range(10)))) == [(0, 10)]


def test_pings_are_flows_by_their_identifier(track):
    report = track(
        (0, ipv4(IN, OUT, 1, echo(8, 1))), (1, ipv4(OUT, IN, 1, echo(0, 1))),
        (2, ipv4(IN, OUT, 1, echo(8, 2))), (3, ipv4(OUT, IN, 1, echo(8, 1))),
        (4, ipv4(IN, OUT, 1, echo(0, 1))), (5, ipv4(OUT, IN, 1, echo(0, 3))),
    )  # fmt: skip
    assert starts(report) == [(0, 2), (2, 1), (3, 2)]
    assert report.untracked == 1
    assert [d.sport for d in report.decisions] == [None] * 3


@pytest.mark.parametrize(("request_type", "reply_type"), [(8, 0), (13, 14), (15, 16), (17, 18)])
def test_every_icmp_request_takes_its_own_reply_only(track, request_type, reply_type):
    report = track(
        (0, ipv4(IN, OUT, 1, echo(request_type, 0x0800))),
        (1, ipv4(OUT, IN, 1, echo(reply_type, 0x0800))),
        (2, ipv4(IN, OUT, 1, echo(reply_type, 0x0800))),
    )
    assert starts(report) == [(0, 2)]
    assert report.untracked == 1


def test_ping6_is_a_flow_and_neighbour_discovery_is_not_tracked(track):
    untracked = (*range(130, 138), 143)
    report = track(
        (0, ipv6(IN6, OUT6, 58, echo(128, 7))), (1, ipv6(OUT6, IN6, 58, echo(129, 7))),
        *((2, ipv6(IN6, OUT6, 58, icmp(kind, 0, 0, bytes(16)))) for kind in untracked),
        (3, ipv6(IN6, OUT6, 1, echo(8, 7))), (3, ipv4(IN, OUT, 58, echo(128, 7))),
    )  # fmt: skip
    assert starts(report) == [(0, 2)]
    assert report.untracked == 11
    assert report.decisions[0].protocol == "icmpv6"


def test_an_icmp_error_belongs_to_the_flow_that_it_quotes(track):
    router = "203.0.113.1"
    quote, quote6 = udp_there(body=b"x" * 30)[:28], ipv6(IN6, OUT6, 17, udp(6000, 53))[:48]
    report = track(
        (0, udp_there(body=b"x" * 30)),
        (1, ipv4(router, IN, 1, icmp(3, 1, 0, quote))),
        (2, ipv4(router, IN, 1, icmp(11, 0, 0, quote))),
        (3, ipv6(IN6, OUT6, 17, udp(6000, 53))),
        (4, ipv6(OUT6, IN6, 58, icmp(1, 4, 0, quote6))),
        # About a flow there is not, to someone who did not send it, and too short to say.
        (5, ipv4(router, IN, 1, icmp(3, 1, 0, udp_there(sport=77)))),
        (6, ipv4(router, OUT, 1, icmp(3, 1, 0, quote))),
        (7, ipv4(router, IN, 1, icmp(3, 1, 0, quote[:24]))),
        # Long after: an error keeps nothing alive.
        (32, ipv4(router, IN, 1, icmp(3, 1, 0, quote))),
    )
    assert starts(report) == [(0, 3), (3, 2)]
    assert report.untracked == 4
    assert report.decisions[0].bytes == 58 + 2 * (20 + 8 + 28)


def test_sctp_starts_with_init_and_not_with_data(track):
    def sctp(src, dst, *chunks, tag=0):
        ports = (7000, 7001) if src == IN else (7001, 7000)
        head = ports[0].to_bytes(2) + ports[1].to_bytes(2) + tag.to_bytes(4) + bytes(4)
        body = b"".join(bytes([kind, 0, 0, 16]) + bytes(12) for kind in chunks)
        return ipv4(src, dst, 132, head + body)

    report = track((0, sctp(IN, OUT, 0, tag=5)), (1, sctp(IN, OUT, 6, tag=5)))
    assert (report.flows, report.untracked) == (0, 2)
    assert track((0, sctp(IN, OUT, 1, tag=5))).flows == 0
    report = track(
        (0, sctp(IN, OUT, 1)), (1, sctp(OUT, IN, 2, tag=1)), (2, sctp(IN, OUT, 10, tag=1)),
        (3, sctp(OUT, IN, 11, tag=1)), (4, sctp(IN, OUT, 3, 0, tag=1)), (200, sctp(OUT, IN, 0)),
        (405, sctp(IN, OUT, 4, tag=1)), (700, sctp(IN, OUT, 4, tag=1)),
    )  # fmt: skip
    assert starts(report) == [(0, 7), (700, 1)]
    assert report.decisions[0].sport == 7000


def test_dccp_starts_with_request(track):
    def dccp(src, dst, kind):
        ports = (7000, 7001) if src == IN else (7001, 7000)
        head = ports[0].to_bytes(2) + ports[1].to_bytes(2)
        return ipv4(src, dst, 33, head + bytes([4, 0, 0, 0, kind << 1 | 1]) + bytes(7))

    assert track((0, dccp(IN, OUT, 2)), (1, dccp(IN, OUT, 1))).flows == 0
    report = track(
        (0, dccp(IN, OUT, 0)), (1, dccp(OUT, IN, 1)), (2, dccp(IN, OUT, 3)),
        (3, dccp(OUT, IN, 4)), (40000, dccp(IN, OUT, 2)), (40001, dccp(IN, OUT, 6)),
        (40002, dccp(OUT, IN, 7)), (40300, dccp(IN, OUT, 0)), (40301, dccp(OUT, IN, 7)),
    )  # fmt: skip
    assert starts(report) == [(0, 7), (40300, 2)]


def test_other_protocols_are_flows_of_two_addresses(track):
    report = track(
        (0, ipv4(IN, OUT, 50, bytes(20))), (1, ipv4(OUT, IN, 50, bytes(20))),
        (2, ipv4(IN, OUT, 51, bytes(20))), (3, ipv4(IN, OUT, 200, bytes(20))),
    )  # fmt: skip
    assert starts(report) == [(0, 2), (2, 1), (3, 1)]
    assert [d.protocol for d in report.decisions] == ["esp", "ah", "200"]


def test_what_is_shorter_than_it_says_is_malformed(track):
    whole = udp_there(body=b"x" * 10)
    report = track((0, whole[:-1]), (1, whole + bytes(6)), (2, there(SYN)[:39]))
    assert (report.flows, report.malformed, report.packets) == (1, 2, 3)
    assert report.decisions[0].bytes == 38


def test_multicast_and_broadcast_are_flows_that_no_uplink_takes(track):
    report = track(
        (0, ipv4(IN, "224.0.0.251", 17, udp(5353, 5353))),
        (1, ipv4("0.0.0.0", "255.255.255.255", 17, udp(68, 67))),
        (2, ipv6(IN6, "ff02::fb", 17, udp(5353, 5353))),
        (3, ipv4(IN, "0.0.0.0", 17, udp(1, 2))),
        (4, udp_there()),
    )
    assert [(d.uplink, d.rule, d.reason) for d in report.decisions] == [
        (None, None, "direct"),
    ] * 4 + [("a", "rest", "nth")]
    assert report.direct.flows == 4


def test_time_that_goes_back_neither_ends_flows_nor_the_replay(track):
    report = track((100, udp_there()), (0, udp_there()), (110, udp_there()), (141, udp_there()))
    assert starts(report) == [(100, 3), (141, 1)]
