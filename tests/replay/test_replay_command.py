"""`nfq-classifier replay` as a person or a script runs it."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from capture_files import (
    RAW,
    SYN,
    Captured,
    at,
    enhanced,
    ethernet,
    interface,
    ipv4,
    pcap,
    section,
    tcp,
    udp,
)

IN, OUT = "192.168.1.2", "198.51.100.7"
ARP = Captured(1, bytes(12) + b"\x08\x06" + bytes(28))


def nfq_classifier(*arguments, data=None):
    return subprocess.run(
        [sys.executable, "-m", "classifier", "replay", *arguments],
        input=data,
        capture_output=True,
        timeout=60,
    )


@pytest.fixture
def capture(write):
    frames = [
        Captured(1_500_000_000_250_000_000, ethernet(ipv4(IN, OUT, 6, tcp(1000, 443, SYN)))),
        ARP,
        Captured(3, ethernet(ipv4(IN, OUT, 17, udp(1001, 53, b"x" * 8)))),
        Captured(4, ethernet(ipv4(OUT, IN, 17, udp(53, 1001)))),
        Captured(5, ethernet(ipv4(IN, "10.0.0.1", 50, bytes(8)))),
        Captured(6, ethernet(ipv4(IN, OUT, 6, tcp(1, 2, 0)))),
        Captured(7, ethernet(b"\x40" + bytes(30))),
    ]
    return write(pcap(frames))


def test_json_has_exactly_the_promised_keys(policy_file, capture):
    done = nfq_classifier(policy_file, capture, "--json", "--seed", "1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout) == {
        "packets": 7,
        "flows": 3,
        "malformed": 1,
        "uplinks": {
            "a": {"flows": 1, "packets": 1, "bytes": 40, "share": 0.5},
            "b": {"flows": 1, "packets": 2, "bytes": 64, "share": 0.5},
        },
        "direct": {"flows": 1, "packets": 1, "bytes": 28},
        "rules": [
            {"name": "home", "flows": 1},
            {"name": "no mail", "flows": 0},
            {"name": "rest", "flows": 2},
        ],
        "balancers": {"all": {"errors": 0}},
        "dropped": {"flows": 0, "packets": 0, "bytes": 0},
        "inbound": {"flows": 0, "packets": 0, "bytes": 0},
        "untracked": 1,
        "without_ip": 1,
    }


def test_flows_are_json_lines_in_order_of_start(policy_file, capture):
    done = nfq_classifier(policy_file, capture, "--flows", "--seed", "1")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0] == {
        "time": 1500000000.25, "protocol": "tcp", "src": IN, "sport": 1000, "dst": OUT,
        "dport": 443, "uplink": "a", "rule": "rest", "reason": "nth", "packets": 1, "bytes": 40,
    }  # fmt: skip
    assert lines[2] == {
        "time": 0.0, "protocol": "esp", "src": IN, "sport": None, "dst": "10.0.0.1",
        "dport": None, "uplink": None, "rule": "home", "reason": "direct", "packets": 1,
        "bytes": 28,
    }  # fmt: skip
    assert [(line["uplink"], line["packets"]) for line in lines] == [("a", 1), ("b", 2), (None, 1)]


def test_people_get_aligned_text(policy_file, capture):
    done = nfq_classifier(policy_file, capture, "--seed", "1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == (
        "packets     7\n"
        "flows       3\n"
        "malformed   1\n"
        "untracked   1\n"
        "without IP  1\n"
        "\n"
        "uplink    flows   share  packets  bytes\n"
        "a             1  50.00%        1     40\n"
        "b             1  50.00%        2     64\n"
        "(direct)      1                1     28\n"
        "\n"
        "rule     flows\n"
        "home         1\n"
        "no mail      0\n"
        "rest         2\n"
    )


def test_a_pipe_is_read_as_a_file_is(policy_file):
    data = section() + interface(RAW)
    data += b"".join(enhanced(ipv4(IN, OUT, 17, udp(n, 53)), n) for n in range(1, 5001))
    done = nfq_classifier(policy_file, "-", "--json", data=data)
    assert done.returncode == 0
    summary = json.loads(done.stdout)
    assert (summary["packets"], summary["flows"]) == (5000, 5000)


def test_a_broken_capture_still_gets_its_summary(policy_file, write):
    data = pcap([at(n, ipv4(IN, OUT, 17, udp(n, 53))) for n in range(10)], link=RAW)
    path = write(data[:-5])
    done = nfq_classifier(policy_file, path, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["packets"] == 9
    assert done.stderr.decode().startswith(f"nfq-classifier: {path}: packet 10, byte ")
    assert done.stderr.count(b"\n") == 1


def test_lan_and_in_interface_are_taken(policy_file, capture):
    done = nfq_classifier(
        policy_file, capture, "--json", "--lan", "10.0.0.0/8", "--lan", "198.51.100.0/24",
        "--in-interface", "lan0",
    )  # fmt: skip
    summary = json.loads(done.stdout)
    assert (summary["flows"], summary["inbound"]["flows"]) == (0, 3)
    done = nfq_classifier(policy_file, capture, "--lan", "192.168.0.0/16")
    assert b"(inbound)" in done.stdout


@pytest.mark.parametrize(
    "arguments", [("--lan", "10.0.0.1/8"), ("--json", "--flows"), ("--seed", "x")]
)
def test_a_wrong_option_is_wrong_usage(policy_file, capture, arguments):
    done = nfq_classifier(policy_file, capture, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(b"nfq-classifier: ")
    assert done.stdout == b""


def test_no_capture_is_wrong_usage(policy_file):
    assert nfq_classifier(policy_file).returncode == 2


@pytest.mark.parametrize("options", [(), ("--json",), ("--flows",)], ids=["text", "json", "flows"])
def test_a_capture_that_cannot_be_read_at_all_gets_no_table(policy_file, tmp_path, options):
    zipped = tmp_path / "capture.pcap.gz"
    zipped.write_bytes(gzip.compress(b"text"))
    folder = tmp_path / "folder"
    folder.mkdir()
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    for path, reason in (
        ("/nonexistent.pcap", "No such file or directory"),
        (folder, "no captures in this folder"),
        (
            zipped,
            "packet 1, byte 0: not a capture file: it begins with 74 65 78 74, which is neither"
            " pcap nor pcapng (counted in what the archive unpacks to)",
        ),
        (empty, "packet 1, byte 0: the file is empty"),
    ):
        done = nfq_classifier(policy_file, path, *options)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.decode() == f"nfq-classifier: {path}: {reason}\n"


def test_what_came_before_a_capture_that_is_not_there_is_still_shown(policy_file, capture):
    done = nfq_classifier(policy_file, capture, "/nonexistent.pcap", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["packets"] == 7
    assert done.stderr == b"nfq-classifier: /nonexistent.pcap: No such file or directory\n"


def test_nothing_is_loaded_that_a_laptop_may_lack(policy_file, capture):
    program = (
        "import sys; from classifier.commands import main; main(sys.argv[1:]); "
        "lacking = {'pyroute2', 'scapy', 'netfilterqueue'}; "
        "assert not lacking & {name.split('.')[0] for name in sys.modules}"
    )
    command = [sys.executable, "-c", program, "replay", policy_file, capture]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_terminal_gets_progress_and_the_same_summary(policy_file, capture):
    ours, theirs = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "classifier",
        "replay",
        policy_file,
        capture,
        capture,
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        output, _ = process.communicate(timeout=60)
    shown = os.read(ours, 65536)
    os.close(ours)
    assert process.returncode == 0
    assert json.loads(output)["packets"] == 14
    assert f"2/2 {Path(capture).name}".encode() in shown.replace(b"\r\n", b"")


def test_rate_tells_packets_flows_and_both_times(policy_file, write):
    path = write(pcap([at(n, ipv4(IN, OUT, 17, udp(n, 53))) for n in range(100)], link=RAW))
    done = nfq_classifier(policy_file, path, "--rate", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    rate = json.loads(done.stdout)["rate"]
    assert rate["capture_seconds"] == 99.0
    assert 0 < rate["seconds"] < 60
    assert rate["packets_per_second"] == pytest.approx(100 / rate["seconds"])
    assert rate["flows_per_second"] == pytest.approx(100 / rate["seconds"])
    for form in ((), ("--flows",)):
        done = nfq_classifier(policy_file, path, "--rate", *form)
        plain = nfq_classifier(policy_file, path, *form)
        assert done.stderr.startswith(b"100 packets and 100 flows of 99.000 s in 0.")
        assert done.stderr.count(b"packets/s, ") == done.stderr.count(b" flows/s\n") == 1
        assert len(done.stdout.splitlines()) == len(plain.stdout.splitlines())


def test_uplinks_fail_at_their_time_and_what_did_not_happen_is_said(policy_file, write):
    path = write(pcap([at(n, ipv4(IN, OUT, 17, udp(n, 53))) for n in range(100)], link=RAW))
    done = nfq_classifier(
        policy_file, path, "--json", "--seed", "1",
        "--at", "50s a down", "--at", "90s a up", "--at", "2m b drain",
    )  # fmt: skip
    assert done.returncode == 0
    uplinks = json.loads(done.stdout)["uplinks"]
    assert (uplinks["a"]["flows"], uplinks["b"]["flows"]) == (30, 70)
    assert done.stderr == (
        b"nfq-classifier: --at '120s b drain' did not happen: the captures end after 99s\n"
    )


def test_a_wrong_event_is_wrong_usage_and_reads_nothing(policy_file):
    done = nfq_classifier(policy_file, "/nonexistent.pcap", "--at", "50s x down")
    assert done.returncode == 2
    assert done.stderr == (
        b"nfq-classifier: at = '50s x down': the policy has no uplink 'x' (a, b)\n"
    )


def test_into_a_pipe_goes_no_progress(policy_file, capture):
    done = nfq_classifier(policy_file, capture, "--json")
    assert done.stderr == b""
