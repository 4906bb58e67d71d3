"""Several captures, and folders of them, are one stream in order of time."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from capture_files import RAW, SYN, SYN_ACK, at, ipv4, pcap, tcp, udp

from classifier.errors import CaptureError
from classifier.replay import replay
from classifier.replay.captures import in_order_of_time

IN, OUT = "192.168.1.2", "198.51.100.7"


def capture(*seconds: float) -> bytes:
    return pcap([at(s, ipv4(IN, OUT, 17, udp(int(s), 53))) for s in seconds], link=RAW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Rotated captures whose names say nothing about their order, one of them packed."""
    made = tmp_path / "captures"
    made.mkdir()
    (made / "a.pcap").write_bytes(capture(200, 250))
    (made / "b.gz").write_bytes(gzip.compress(capture(100, 150)))
    (made / "c").write_bytes(capture(300))
    (made / "none").write_bytes(capture())
    (made / ".partial").write_bytes(b"not finished yet")
    (made / "older").mkdir()
    return made


def test_a_folder_is_read_in_order_of_time(policy, folder):
    report = replay(policy, folder, seed=1)
    assert [d.sport for d in report.decisions] == [100, 150, 200, 250, 300]
    assert [d.uplink for d in report.decisions] == ["a", "b", "a", "b", "a"]
    assert report.seconds == 200.0


def test_files_given_out_of_order_are_put_in_order_of_time(policy, folder):
    files = [folder / "c", folder / "a.pcap", folder / "b.gz"]
    assert replay(policy, files, seed=1) == replay(policy, folder, seed=1)
    assert in_order_of_time(files) == [str(folder / name) for name in ("b.gz", "a.pcap", "c")]


def test_flows_go_on_from_one_file_to_the_next(policy, write):
    first = pcap([at(0, ipv4(IN, OUT, 6, tcp(1, 443, SYN)))], link=RAW)
    second = pcap([at(1, ipv4(OUT, IN, 6, tcp(443, 1, SYN_ACK)))], link=RAW)
    (flow,) = replay(policy, [write(second), write(first)], seed=1).decisions
    assert (flow.src, flow.packets) == (IN, 2)


def test_a_pipe_among_them_keeps_the_order_as_given(policy, folder, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(capture(120, 350),))
    writer.start()
    try:
        given = [folder / "a.pcap", pipe, folder / "c"]
        assert in_order_of_time(given) == [str(path) for path in given]
        report = replay(policy, given, seed=1)
    finally:
        writer.join(10)
    assert [d.sport for d in report.decisions] == [200, 250, 120, 350, 300]


def test_what_is_no_capture_in_a_folder_is_told_after_all_others_were_read(policy_file, folder):
    (folder / "README").write_text("what these captures are")
    command = [sys.executable, "-m", "classifier", "replay", policy_file, str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["packets"] == 5
    place = f"{folder / 'README'}: packet 1, byte 0: not a capture file: it begins with 77 68 61 74"
    assert done.stderr.decode().startswith(f"nfq-classifier: {place}")


def test_an_empty_folder_is_an_error(policy, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaptureError, match="empty: no captures in this folder"):
        replay(policy, tmp_path / "empty")
