"""A capture written again with comments is the same capture, with comments."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from capture_files import (
    LONG_RECORDS,
    MICROSECONDS,
    NANOSECONDS,
    ORDERS,
    RAW,
    START,
    Captured,
    at,
    block,
    enhanced,
    ethernet,
    interface,
    ipv4,
    old_packet,
    option,
    pcap,
    section,
    simple,
    udp,
)

from classifier.config import parse_policy
from classifier.errors import CaptureError, OutputError, UsageError
from classifier.replay import Replay
from classifier.replay.annotate import check_annotated

scapy_utils = pytest.importorskip("scapy.utils")

IN, OUT = "192.168.1.2", "198.51.100.7"
RULE = 'name = "rest"'
COMMENT, TSRESOL, TSOFFSET, IF_NAME = 1, 9, 14, 2


def flow(number: int) -> bytes:
    return ipv4(IN, OUT, 17, udp(1000 + number, 443))


def annotated(policy, captures, path: Path) -> bytes:
    run = Replay(policy, seed=1, number_packets=True)
    for capture in captures:
        run.read(capture)
    run.annotate(run.report(), path)
    return path.read_bytes()


def packets(path: Path) -> list[tuple[bytes, tuple[str, ...]]]:
    """What another reader finds: the bytes of each packet, and its comments."""
    with scapy_utils.RawPcapNgReader(str(path)) as reader:
        return [
            (data, tuple(text.decode() for text in meta.comments or ())) for data, meta in reader
        ]


def flows(policy, path) -> list[tuple[int, object]]:
    """Flows with their times in nanoseconds."""
    run = Replay(policy, seed=1)
    run.read(path)
    report = run.report()
    return [(run._tracker.log.record(n)[0], flow) for n, flow in enumerate(report.decisions)]


def test_the_first_packet_of_a_flow_says_uplink_rule_and_reason(policy, raw, tmp_path):
    frames = [flow(0), flow(1), flow(0), ipv4(OUT, IN, 17, udp(443, 1001)), flow(2)]
    frames.append(ipv4(IN, "10.0.0.1", 17, udp(1, 2)))
    capture = raw(at(number, frame) for number, frame in enumerate(frames))
    annotated(policy, [capture], tmp_path / "out.pcapng")
    found = packets(tmp_path / "out.pcapng")
    assert [data for data, _ in found] == frames
    assert [" ".join(comments) for _, comments in found] == [
        "nfq-classifier: uplink a, rule rest, reason nth",
        "nfq-classifier: uplink b, rule rest, reason nth",
        "",
        "",
        "nfq-classifier: uplink a, rule rest, reason nth",
        "nfq-classifier: direct, rule home, reason direct",
    ]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("magic", [MICROSECONDS, NANOSECONDS, LONG_RECORDS])
def test_a_pcap_keeps_its_times_and_lengths(policy, write, tmp_path, order, magic):
    tick = 1 if magic == NANOSECONDS else 1000
    frames = [
        Captured(START + number * 987_654_321 // tick * tick, ethernet(flow(number)), 1500)
        for number in range(5)
    ]
    capture = write(pcap(frames, order=order, magic=magic))
    annotated(policy, [capture], tmp_path / "out.pcapng")
    before, after = flows(policy, capture), flows(policy, str(tmp_path / "out.pcapng"))
    assert after == before and len(after) == 5
    assert [time for time, _ in after] == [frame.time for frame in frames]
    with scapy_utils.RawPcapNgReader(str(tmp_path / "out.pcapng")) as reader:
        assert [(meta.linktype, meta.wirelen) for _, meta in reader] == [(1, 1500)] * 5


def pcapng(order, comments: bool = False) -> bytes:
    """Two interfaces of other links and ticks, blocks that are no packets, packets of all kinds."""
    note = option(COMMENT, b"mine", order) + option(0, b"", order) if comments else b""
    frame = ethernet(flow(1))
    head = struct.pack(order + "5I", 0, 0, 5_000_000, len(frame), len(frame))
    padding = bytes(-len(frame) % 4)
    return b"".join(
        (
            section(order, option(4, b"dumpcap", order) + option(0, b"", order)),
            interface(1, order, options=option(IF_NAME, b"lan0", order) + option(0, b"", order)),
            interface(
                RAW, order, snaplen=65535,
                options=option(TSRESOL, b"\x89", order) + option(TSOFFSET, bytes(8), order),
            ),
            block(4, bytes(4), order),
            enhanced(ethernet(flow(0)), 4_000_000, order),
            block(6, head + frame + padding + note, order),
            enhanced(flow(2), 6 << 9, order, number=1),
            old_packet(ethernet(flow(3)), 7_000_000, order),
            simple(ethernet(flow(4)), len(ethernet(flow(4))), order),
            block(5, struct.pack(order + "III", 0, 0, 9), order),
            section(order),
            interface(RAW, order),
            enhanced(flow(5), 8_000_000, order),
            block(0x0BAD, bytes(2 << 20), order),
        )
    )  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("comments", [False, True])
def test_a_pcapng_keeps_interfaces_ticks_and_comments(policy, write, tmp_path, order, comments):
    capture = write(pcapng(order, comments))
    out = annotated(policy, [capture], tmp_path / "out.pcapng")
    before, after = flows(policy, capture), flows(policy, str(tmp_path / "out.pcapng"))
    assert after == before and len(after) == 6
    found = packets(tmp_path / "out.pcapng")
    texts = [[text for text in notes if text.startswith("nfq")] for _, notes in found]
    # Scapy does not look for comments in old packet blocks, as the fourth is one.
    assert [len(text) for text in texts] == [1, 1, 1, 0, 1, 1]
    assert (b"mine" in out) == comments
    for kept in (b"lan0", b"dumpcap", bytes(2 << 20)):
        assert kept in out


def test_what_has_no_comment_is_kept_byte_for_byte(policy, write, tmp_path):
    again = section() + interface(RAW) + enhanced(flow(0), 1)
    rest = enhanced(flow(0), 2) + old_packet(flow(0), 3) + simple(flow(0), 28) + block(99, b"abcd")
    out = annotated(policy, [write(again + rest)], tmp_path / "out.pcapng")
    assert out.endswith(rest)


def test_several_captures_become_one_file(policy, write, tmp_path):
    first = write(pcap([at(0, flow(0)), at(1, flow(0))], link=RAW))
    packed = write(gzip.compress(pcap([at(2, ethernet(flow(0))), at(3, ethernet(flow(1)))])))
    last = write(section(">") + interface(RAW, ">") + enhanced(flow(2), START // 1000, ">"))
    out = tmp_path / "out.pcapng"
    annotated(policy, [first, packed, last], out)
    run = Replay(policy, seed=1)
    run.read(str(out))
    assert (run.report().packets, run.report().flows) == (5, 3)


def test_a_broken_capture_is_written_as_far_as_it_was_read(policy, write, tmp_path):
    data = pcap([at(number, flow(number)) for number in range(9)], link=RAW)
    run = Replay(policy, seed=1, number_packets=True)
    for broken in (write(data[:-5]), write(gzip.compress(data)[:-30]), "/nonexistent"):
        with pytest.raises(CaptureError):
            run.read(broken)
    run.annotate(run.report(), tmp_path / "out.pcapng")
    counted = run.report().packets
    assert counted >= 8 and len(packets(tmp_path / "out.pcapng")) == counted


def test_a_capture_that_has_changed_since_leaves_no_file(policy, write, tmp_path):
    capture = write(pcap([at(number, flow(number)) for number in range(9)], link=RAW))
    run = Replay(policy, seed=1, number_packets=True)
    run.read(capture)
    Path(capture).write_bytes(pcap([at(0, flow(0))], link=RAW))
    with pytest.raises(OutputError, match="is not what it was"):
        run.annotate(run.report(), tmp_path / "out.pcapng")
    assert sorted(path.name for path in tmp_path.iterdir()) == [Path(capture).name]


def test_what_cannot_be_read_twice_is_refused():
    with pytest.raises(UsageError, match="must be a file"):
        check_annotated(["-"])


def test_names_of_any_script_fit(write, tmp_path):
    rule = "Ä" * 64
    text = """
[gateway]
lan = ["lan0"]
[uplinks.a]
interface = "eth0"
gateway = "192.0.2.1"
[[rules]]
name = "{}"
use = "a"
"""
    annotated(
        parse_policy(text.format(rule)),
        [write(pcap([at(0, flow(0))], link=RAW))],
        tmp_path / "out.pcapng",
    )
    ((_, comments),) = packets(tmp_path / "out.pcapng")
    assert comments == (f"nfq-classifier: uplink a, rule {rule}, reason pinned",)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("kind", ["pcap", "<", ">"])
def test_wireshark_shows_the_comments_and_the_same_times(policy, write, tmp_path, kind):
    nanoseconds = [Captured(START + n * 1_234_567_891, flow(n)) for n in range(4)]
    made = pcap(nanoseconds, magic=NANOSECONDS, link=RAW) if kind == "pcap" else pcapng(kind)
    capture, out = write(made), tmp_path / "out.pcapng"
    annotated(policy, [capture], out)

    def shown(path, *fields: str) -> list[str]:
        asked = [part for field in fields for part in ("-e", field)]
        command = ["tshark", "-n", "-r", str(path), "-T", "fields", *asked]
        # Under a sanitizer our own libraries are preloaded, which are not for it.
        plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=120, env=plain
        ).stdout.splitlines()

    same = ("frame.time_epoch", "frame.interface_id", "frame.len", "ip.src", "udp.srcport")
    before, after = shown(capture, *same), shown(out, *same)
    # A simple packet block has no time, of which Wireshark makes 1970.
    if kind == "pcap":
        before = [line.replace("\t\t", "\t0\t", 1) for line in before]
    else:
        del before[4], after[4]
    assert after == before
    comments = shown(out, "frame.comment")
    assert sum(text.startswith("nfq-classifier: uplink ") for text in comments) == (
        4 if kind == "pcap" else 6
    )
