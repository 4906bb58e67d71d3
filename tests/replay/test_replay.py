"""What `replay()` reports: shares, decisions, who is inside."""

from __future__ import annotations

import dataclasses
import random
import struct
import subprocess
import sys

import pytest
from capture_files import RAW, SYN, SYN_ACK, Captured, at, echo, ipv4, ipv6, pcap, tcp, udp

from classifier import Classifier, replay
from classifier.config import parse_policy
from classifier.engine.engine import Engine
from classifier.errors import CaptureError, UsageError
from classifier.replay import Replay
from classifier.replay.reader import CaptureReader
from classifier.replay.tracker import Tracker

IN, OUT = "192.168.1.2", "198.51.100.7"


def syn(number, src=IN, dst=None, port=443):
    dst = f"198.51.{number // 250}.{number % 250 + 1}" if dst is None else dst
    return ipv4(src, dst, 6, tcp(1024 + number, port, SYN))


def test_shares_are_of_the_flows_that_uplinks_took(policy, raw):
    packets = [syn(n) for n in range(10)]
    packets += [syn(n, dst="10.1.2.3") for n in range(10, 14)]
    packets += [syn(n, port=25) for n in range(14, 16)]
    packets += [ipv4("198.51.0.1", IN, 6, tcp(443, 1024, SYN_ACK, b"hello"))]
    report = replay(policy, [raw(at(n, p) for n, p in enumerate(packets))], seed=7)
    assert (report.packets, report.flows, report.malformed) == (17, 16, 0)
    assert report.share("a") == report.share("b") == 0.5
    assert (report.uplinks["a"].flows, report.uplinks["a"].packets) == (5, 6)
    assert report.uplinks["a"].bytes == 5 * 40 + 45
    assert (report.direct.flows, report.direct.bytes) == (4, 160)
    assert (report.dropped.flows, report.dropped.packets) == (2, 2)
    assert [(r.name, r.flows) for r in report.rules] == [("home", 4), ("no mail", 2), ("rest", 10)]
    assert {(d.uplink, d.rule, d.reason) for d in report.decisions} == {
        ("a", "rest", "nth"),
        ("b", "rest", "nth"),
        (None, "home", "direct"),
        (None, "no mail", "drop"),
    }
    with pytest.raises(KeyError):
        report.share("c")


def test_decisions_can_be_taken_by_place_and_more_than_once(policy, raw):
    report = replay(policy, [raw(at(n, syn(n)) for n in range(5))], seed=7)
    flows = list(report.decisions)
    assert list(report.decisions) == flows
    assert report.decisions[1] == flows[1]
    assert report.decisions[-1] == flows[4]
    assert report.decisions[1:3] == flows[1:3]
    with pytest.raises(IndexError):
        report.decisions[5]
    with pytest.raises(IndexError):
        report.decisions[-6]
    with pytest.raises(AttributeError):
        flows[0].uplink = "b"


RANDOM = """
[uplinks.a]
interface = "eth0"
gateway = "192.0.2.1"
[uplinks.b]
interface = "eth1"
gateway = "198.51.100.1"
[balancers.all]
method = "weighted"
uplinks = { a = 3, b = 1 }
sticky = { by = "remote", timeout = "5s" }
[[rules]]
name = "rest"
use = "all"
"""


def mixed_traffic():
    chance = random.Random(3)
    packets = []
    for number in range(2000):
        dst = f"198.51.100.{chance.randrange(1, 200)}"
        kind = chance.random()
        if kind < 0.4:
            packet = ipv4(IN, dst, 6, tcp(1024 + number, 443, SYN))
        elif kind < 0.8:
            packet = ipv4(IN, dst, 17, udp(1024 + number // 3, 4500))
        else:
            packet = ipv4(IN, dst, 1, echo(8, number))
        packets.append(at(number * 0.05, packet))
    return packets


def test_the_same_seed_gives_the_same_report_and_another_one_another(raw):
    policy, path = parse_policy(RANDOM), raw(mixed_traffic())
    reports = [replay(policy, path, seed=seed) for seed in (1, 1, 2)]
    assert reports[0] == reports[1]
    flows = [list(report.decisions) for report in reports]
    assert flows[0] == flows[1]
    assert flows[0] != flows[2]
    assert [d.src for d in flows[0]] == [d.src for d in flows[2]]


def test_captures_are_decided_by_the_engine_that_decides_live(raw):
    policy, packets = parse_policy(RANDOM), mixed_traffic()
    flows = list(replay(policy, raw(packets), seed=5).decisions)
    starting = {round(flow.time * 1000): flow for flow in flows}
    live = Classifier(policy, seed=5)
    compared = 0
    for packet in packets:
        flow = starting.get(round(packet.time / 10**6))
        if flow is not None:
            now = (packet.time - packets[0].time) / 10**9
            decision = live.classify(packet.data, now)
            assert (decision.uplink, decision.rule, decision.reason) == (
                flow.uplink, flow.rule, flow.reason,
            )  # fmt: skip
            compared += 1
    assert compared == len(flows) > 1000
    assert {"weighted", "sticky"} <= {flow.reason for flow in flows}


def test_several_captures_are_one_stream(policy, raw):
    first, second = (at(0, syn(1)), at(1, syn(2))), (at(0.5, syn(3)), at(2, syn(1)))
    report = replay(policy, [raw(first), raw(second)], seed=1)
    assert (report.packets, report.flows) == (4, 3)
    assert [d.uplink for d in report.decisions] == ["a", "b", "a"]
    assert report.decisions[0].packets == 2
    assert replay(policy, [raw([*first, *second])], seed=1) == report


def test_with_lan_only_flows_from_inside_to_outside_are_decided(policy, raw):
    packets = [
        ipv4(IN, OUT, 17, udp(1, 2)),
        ipv4(OUT, IN, 17, udp(2, 1)),
        ipv4(OUT, IN, 17, udp(3, 4)),
        ipv4(IN, OUT, 17, udp(4, 3)),
        ipv4(IN, "192.168.9.9", 17, udp(5, 6)),
        ipv4("203.0.113.1", OUT, 17, udp(7, 8)),
        ipv6("2001:db8:5::2", "2001:db8:9::7", 17, udp(9, 10)),
        ipv6("2001:db8:6::2", "2001:db8:9::7", 17, udp(9, 10)),
        ipv4(IN, "224.0.0.251", 17, udp(5353, 5353)),
        ipv4(OUT, "224.0.0.251", 17, udp(5353, 5353)),
    ]
    path = raw(at(n, p) for n, p in enumerate(packets))
    report = replay(policy, path, seed=1, lan=["192.168.0.0/16", "2001:db8:5::/48"])
    assert [(d.src, d.dst, d.uplink) for d in report.decisions] == [
        (IN, OUT, "a"),
        ("2001:db8:5::2", "2001:db8:9::7", "b"),
        (IN, "224.0.0.251", None),
    ]
    assert (report.flows, report.inbound.flows, report.inbound.packets) == (3, 5, 6)
    assert report.uplinks["a"].packets == 2
    assert replay(policy, path, seed=1).inbound.flows == 0
    for wrong in ("192.168.1.2/16", "lan0", "10.0.0.0/33"):
        with pytest.raises(UsageError, match=wrong):
            replay(policy, path, lan=[wrong])


TWO_LANS = """
[gateway]
lan = ["lan0", "guests"]
[uplinks.a]
interface = "eth0"
gateway = "192.0.2.1"
[uplinks.b]
interface = "eth1"
gateway = "198.51.100.1"
[[rules]]
name = "guests"
in_interface = "guests"
use = "b"
[[rules]]
name = "rest"
use = "a"
"""


def test_flows_come_in_where_they_are_said_to(raw):
    path = raw([at(0, syn(1))])
    two, one = (
        parse_policy(TWO_LANS),
        parse_policy(TWO_LANS.replace('"lan0", "guests"', '"guests"')),
    )
    assert replay(two, path).decisions[0].uplink == "a"
    assert replay(two, path, in_interface="guests").decisions[0].uplink == "b"
    assert replay(two, path, in_interface="elsewhere").decisions[0].uplink == "a"
    assert replay(one, path).decisions[0].uplink == "b"


def test_a_refused_connection_tried_again_at_once_stays_on_its_uplink(policy, raw):
    refusal = ipv4("198.51.0.2", IN, 6, tcp(443, 1025, 0x14))
    packets = [at(0, syn(1)), at(0.1, refusal), at(1, syn(1)), at(1.1, refusal), at(9, syn(1))]
    report = replay(policy, raw(packets), seed=1)
    assert [(d.uplink, d.reason) for d in report.decisions] == [
        ("a", "nth"), ("a", "in-flight"), ("b", "nth"),
    ]  # fmt: skip


def test_what_came_before_an_error_counts(policy, write):
    data = pcap([at(n, syn(n)) for n in range(300)], link=RAW)
    run = Replay(policy, seed=1)
    with pytest.raises(CaptureError, match="packet 300, byte"):
        run.read(write(data[:-1]))
    report = run.report()
    assert (report.packets, report.flows) == (299, 299)


def test_packets_cut_by_the_capture_count_with_their_length(policy, raw):
    whole = ipv4(IN, OUT, 6, tcp(1000, 443, SYN, bytes(900)))
    report = replay(policy, raw([Captured(0, whole[:60], len(whole))]), seed=1)
    assert report.decisions[0].bytes == 940
    assert replay(policy, raw([Captured(0, whole[:39], len(whole))])).malformed == 1


def test_a_packet_without_a_length_counts_with_that_of_the_wire(policy, raw):
    # As the kernel hands over what is larger than an IPv4 header can say.
    whole = bytearray(ipv4(IN, OUT, 6, tcp(1000, 443, SYN, bytes(60000))))
    whole[2:4] = bytes(2)
    report = replay(policy, raw([Captured(0, bytes(whole[:96]), len(whole))]), seed=1)
    assert report.decisions[0].bytes == len(whole)


# Not ru_maxrss of getrusage: that is the parent's where the parent was larger.
STREAM = """
import sys
from pathlib import Path
from classifier.config import load_policy
from classifier.replay import Replay
from classifier.replay.reader import CaptureReader
from classifier.replay.tracker import Tracker
run = Replay(load_policy(sys.argv[1]), seed=1, keep=False)
run.read("-")
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(run.report().packets, status["VmHWM"].split()[0])
"""


def test_a_flow_that_goes_on_has_no_sums_until_it_ends(policy, raw):
    tracker = Tracker(Engine(policy, 7))
    with CaptureReader(raw(at(n, syn(n % 5)) for n in range(500))) as reader:
        while tracker.read(reader):
            pass
    assert [tracker.log.record(n)[-2:] for n in range(len(tracker.log))] == [(0, 0)] * 5
    tracker.finish()
    assert [tracker.log.record(n)[-2:] for n in range(len(tracker.log))] == [(100, 4000)] * 5


def peak(policy_file, packets):
    """Kilobytes that it takes to replay so many packets of 1400 bytes from a pipe.

    A hundred new flows a second, each of ten packets in ten seconds.
    """
    count = 1000
    records = [
        bytearray(pcap([at(0, ipv4(IN, OUT, 17, udp(n, 2, bytes(1372))))], link=RAW))
        for n in range(count)
    ]
    header = bytes(records[0][:24])
    second = bytearray().join(record[24:] for record in records)
    size = len(second) // count
    with subprocess.Popen(
        [sys.executable, "-c", STREAM, policy_file], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(header)
        for time in range(packets // count):
            for n in range(count):
                struct.pack_into("<I", second, n * size, time)
                # The source port: another one every ten seconds, for a tenth of the flows each.
                struct.pack_into(
                    ">H", second, n * size + 36, n + 1000 * ((time + n % 10) // 10 % 60)
                )
            process.stdin.write(second)
        process.stdin.close()
        counted, kilobytes = map(int, process.stdout.read().split())
    assert process.returncode == 0
    assert counted == packets
    return kilobytes


def test_memory_does_not_grow_with_the_length_of_a_capture(policy_file):
    """Nor with the number of flows that it ever had: what counts is how many there are at once."""
    small, large = peak(policy_file, 60_000), peak(policy_file, 360_000)
    assert large - small < 4096, "420 MB more were read"


def test_a_policy_that_grows_meanwhile_is_counted_by_the_rules_of_the_start(policy, raw):
    """The engine may be given another policy; what the log has no room for is of no rule."""
    engine = Engine(policy, 7)
    tracker = Tracker(engine)
    with CaptureReader(raw(at(n, syn(n)) for n in range(2))) as reader:
        while tracker.read(reader):
            pass
    (last,) = policy.rules[-1:]
    rules = (*(dataclasses.replace(last, name=f"r{n}", to_ports=((1, 1),)) for n in range(9)), last)
    engine.replace_policy(dataclasses.replace(policy, rules=rules))
    with CaptureReader(raw(at(10 + n, syn(10 + n)) for n in range(2))) as reader:
        while tracker.read(reader):
            pass
    assert tracker.log.rules() == [0, 0, 2]
    assert [tracker.log.record(n)[7] for n in range(4)] == [2, 2, -1, -1]
