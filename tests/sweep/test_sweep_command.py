"""`nfq-classifier replay --sweep` as a person or a script runs it."""

from __future__ import annotations

import csv
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from classifier.commands import main

BLOCK = re.DOTALL | re.MULTILINE


def replay(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "classifier", "replay", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_policies_and_captures_are_told_apart_by_their_names(folder: Path) -> None:
    done = replay("nth.toml", "--sweep", "all-b.toml", "six.pcap", "ten.pcap")
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [(row["policy"], row["captures"], row["uplinks.b.flows"]) for row in rows] == [
        ("nth.toml", "six.pcap", "3"),
        ("nth.toml", "ten.pcap", "5"),
        ("all-b.toml", "six.pcap", "6"),
        ("all-b.toml", "ten.pcap", "10"),
    ]


def test_the_values_of_the_page_are_tried_in_the_gateway_of_the_readme(folder: Path) -> None:
    root = Path(__file__).parents[2]
    (gateway,) = re.findall(r"^```toml\n(.*?)^```", (root / "README.md").read_text(), BLOCK)
    (values,) = re.findall(r"^```toml\n(.*?)^```", (root / "docs/commands.md").read_text(), BLOCK)
    (folder / "gateway.toml").write_text(gateway)
    (folder / "methods.toml").write_text(values)
    done = replay("--sweep", "methods.toml", "ten.pcap")
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == 3 * 3 * 2
    by_wired = [row for row in rows if row["rules[1].use"] == "wired"]
    assert [row["uplinks.wired.flows"] for row in by_wired] == ["10"] * 9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--at", "1s lte down"), "all-b.toml: at = '1s lte down': the policy has no uplink 'lte'"),
        (("--at", "soon a down"), "nth.toml: at = 'soon a down': the time 'soon'"),
        (("--lan", "10.0.0.1/8"), "lan 10.0.0.1/8: 10.0.0.1/8 has host bits set"),
    ],
)
def test_wrong_options_end_a_sweep_before_it_begins(
    folder: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    policy = (folder / "nth.toml").read_text()
    (folder / "nth.toml").write_text(f'{policy}[uplinks.lte]\ninterface = "eth9"\n')
    captures = ("six.pcap", "ten.pcap")
    arguments = ("replay", "nth.toml", "all-b.toml", *captures, "--sweep", "--out", "t.csv")
    assert main([*arguments, *options]) == 2
    assert capfd.readouterr().err.startswith(f"nfq-classifier: {said}")
    assert not (folder / "t.csv").exists()


def test_a_task_that_fails_is_named_and_the_exit_code_is_1(folder: Path) -> None:
    (folder / "six.pcap").write_bytes(b"not a capture")
    done = replay("--sweep", "--out", "table.csv", "nth.toml", "six.pcap", "ten.pcap")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("nfq-classifier: nth.toml over six.pcap: ")
    assert "packet 1, byte 0" in done.stderr and done.stderr.count("\n") == 1
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert [(row["captures"], row["flows"]) for row in rows] == [
        ("six.pcap", ""),
        ("ten.pcap", "10"),
    ]


def test_a_method_that_fails_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As plain `replay` does; the sweep is done, so the exit code is 0."""
    monkeypatch.setenv("PYTHONPATH", str(folder))
    (folder / "odd.py").write_text(
        "class Odd:\n    def select(self, flow, uplinks, now):\n        return 'a'\n"
    )
    policy = (folder / "nth.toml").read_text().replace('"nth"', '"odd:Odd"')
    (folder / "odd.toml").write_text(policy)
    done = replay("--sweep", "nth.toml", "odd.toml", "six.pcap")
    assert done.returncode == 0
    assert done.stderr.startswith(
        "nfq-classifier: odd.toml over six.pcap: balancer all: its method odd:Odd failed 6 times, "
    )
    assert done.stderr.count("\n") == 1
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["method_failures"] for row in rows] == ["0", "6"]
    assert rows[1]["method_error"] in done.stderr


def test_a_terminal_gets_progress(folder: Path) -> None:
    command = [sys.executable, "-m", "classifier", "replay", "nth.toml", "six.pcap", "--sweep"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        output, _ = process.communicate(timeout=120)
    shown = os.read(ours, 65536)
    os.close(ours)
    assert process.returncode == 0
    assert output.startswith(b"policy,captures,seconds,packets,flows,")
    assert b"sweep" in shown and b"1/1" in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nth.toml", "six.pcap", "--jobs", "2"], "--jobs: only together with --sweep"),
        (["nth.toml", "six.pcap", "--out", "t.csv"], "--out: only together with --sweep"),
        (["nth.toml", "all-b.toml", "--sweep"], "--sweep: no CAPTURE is given"),
        (["nth.toml", "six.pcap", "--sweep", "--json"], "--sweep: makes a table of its own"),
        (
            ["nth.toml", "six.pcap", "--sweep", "--against", "all-b.toml"],
            "--sweep: makes a table of its own, and nothing else",
        ),
        (["nth.toml", "six.pcap", "--sweep", "--jobs", "0"], "argument --jobs: 0 must be"),
    ],
    ids=["jobs", "out", "no capture", "json", "against", "no jobs"],
)
def test_a_wrong_option_is_wrong_usage(folder: Path, options: list[str], said: str) -> None:
    done = replay(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"nfq-classifier: {said}")
