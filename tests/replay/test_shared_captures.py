"""Real captures of others, kept beside the project: applications, and hostile packets."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from probes import headers, take
from scapy.utils import RawPcapReader

from classifier import Classifier
from classifier.errors import CaptureError
from classifier.replay import Replay
from classifier.replay.reader import CaptureReader


def folder():
    if named := os.environ.get("CLASSIFIER_CAPTURES"):
        return Path(named)
    # Beside the project; or further up, where this is a worktree of it.
    beside = (parent.parent / "shared" / "captures" for parent in Path(__file__).parents)
    return next(filter(Path.is_dir, beside), Path("nowhere"))


CAPTURES = sorted(path for path in folder().glob("*/*") if "pcap" in path.suffix)

if not CAPTURES:
    pytest.skip("no captures beside the project", allow_module_level=True)


def run(policy, path):
    """The report and the error, None at the end of the file."""
    replay = Replay(policy, seed=11)
    error = None
    try:
        replay.read(path)
    except CaptureError as raised:
        error = str(raised)
    return replay.report(), error


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_a_capture_is_read_to_its_end_or_to_an_error_with_packet_and_offset(policy, path):
    report, error = run(policy, path)
    if error is None:
        with RawPcapReader(str(path)) as reader:
            assert report.packets == sum(1 for _ in reader)
    else:
        assert re.match(rf"{re.escape(str(path))}: packet {report.packets + 1}, byte \d+: .", error)
    uses = [*report.uplinks.values(), report.direct, report.dropped]
    assert report.flows == sum(use.flows for use in uses) == len(report.decisions)
    for field in ("packets", "bytes"):
        assert sum(getattr(use, field) for use in uses) == sum(
            getattr(flow, field) for flow in report.decisions
        )
    left = report.malformed + report.untracked + report.without_ip
    assert report.packets == sum(use.packets for use in uses) + left
    again, _ = run(policy, path)
    assert again == report
    assert list(again.decisions) == list(report.decisions)


def test_balanced_flows_of_all_captures_are_shared_to_within_one(policy):
    replay = Replay(policy, seed=1)
    for path in CAPTURES:
        try:
            replay.read(path)
        except CaptureError:
            continue
    counts = [0, 0]
    for flow in replay.report().decisions:
        if flow.reason == "nth":
            counts[flow.uplink == "b"] += 1
    assert abs(counts[0] - counts[1]) <= 1
    assert sum(counts) > 1000


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_every_packet_of_a_capture_can_be_decided_as_if_it_were_queued(policy, path):
    packets = []
    try:
        with CaptureReader(str(path)) as reader:
            while taken := take(reader):
                packets += [data for _, data, _ in taken if data is not None]
    except CaptureError:
        pass  # which the test above looks at
    decisions = Classifier(policy, seed=11).classify_many(packets, 0.0)
    malformed = [bool(headers(packet)["malformed"]) for packet in packets]
    assert [decision.reason == "malformed" for decision in decisions] == malformed
