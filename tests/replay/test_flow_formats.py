"""Flows in files: every format says the same."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from capture_files import RAW, Captured, ipv4, pcap, udp
from replayed_policies import ALTERNATING

from classifier.errors import OutputError, UsageError
from classifier.replay import replay
from classifier.replay.flow_formats import json_lines, writer

IN, OUT = "192.168.1.2", "198.51.100.7"


@pytest.fixture
def capture(write):
    packets = [
        ipv4(IN, OUT, 17, udp(1000, 443)),
        ipv4(IN, OUT, 17, udp(1001, 443, bytes(9))),
        ipv4(IN, "10.0.0.1", 50, bytes(8)),
        ipv4(IN, OUT, 17, udp(1002, 443)),
    ]
    # The second is no multiple of a power of two: a time that is written has to be read the same.
    return write(pcap([Captured(n * 1_234_567_000, p) for n, p in enumerate(packets)], link=RAW))


@pytest.fixture(params=[False, True], ids=["alone", "against"])
def report(policy, capture, request):
    other = {"against": sticky_policy()} if request.param else {}
    return replay(policy, capture, seed=1, **other)


def sticky_policy():
    from classifier.config import parse_policy

    return parse_policy(ALTERNATING.replace('"nth"', '"nth"\nsticky = "remote"'))


def flat(line: str) -> dict[str, object]:
    """A flow of JSON as a row of a table."""
    flow = json.loads(line)
    if "against" in flow:
        flow |= {f"against_{key}": value for key, value in flow.pop("against").items()}
    return flow


def test_csv_says_what_the_json_lines_say(report, tmp_path):
    writer(tmp_path / "flows.csv")(report)
    with (tmp_path / "flows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [flat(line) for line in json_lines(report)]
    written = [
        {
            k: "" if v is None else json.dumps(v) if isinstance(v, bool) else str(v)
            for k, v in f.items()
        }
        for f in expected
    ]
    assert rows == written and len(rows) == 4
    assert ("moved" in rows[0]) == (report.against is not None)


def test_json_lines_in_a_file_are_those_of_the_command(report, tmp_path):
    writer(tmp_path / "flows.jsonl")(report)
    assert (tmp_path / "flows.jsonl").read_text().splitlines() == list(json_lines(report))


def test_parquet_says_what_the_json_lines_say(report, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    writer(tmp_path / "flows.parquet")(report)
    table = parquet.read_table(tmp_path / "flows.parquet")
    assert table.to_pylist() == [flat(line) for line in json_lines(report)]
    assert str(table.schema.field("bytes").type) == "uint64"


def test_parquet_without_pyarrow_says_what_to_install(policy_file, capture, tmp_path):
    (tmp_path / "pyarrow.py").write_text("raise ImportError")
    command = [sys.executable, "-m", "classifier", "replay", policy_file, capture]
    done = subprocess.run(
        [*command, "--flows-to", str(tmp_path / "out.parquet")],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'nfq-classifier[parquet]'" in done.stderr
    assert not (tmp_path / "out.parquet").exists()


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"flows\.txt: must end with one of \.jsonl, \.csv"):
        writer(tmp_path / "flows.txt")


def test_a_file_is_replaced_as_a_whole_or_not_at_all(report, tmp_path):
    out = tmp_path / "flows.csv"
    out.write_text("before")
    out.chmod(0o640)

    class Broken(type(report.decisions)):  # type: ignore[misc]
        def __iter__(self):
            raise OSError(28, "No space left on device")

    broken = Broken.__new__(Broken)
    broken.__dict__.update(report.decisions.__dict__)
    object.__setattr__(report, "decisions", broken)
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        writer(out)(report)
    assert out.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if "flows" in path.name] == ["flows.csv"]


def test_a_file_keeps_its_mode_and_a_link_stays_a_link(report, tmp_path):
    real, link = tmp_path / "real.csv", tmp_path / "flows.csv"
    real.write_text("before")
    real.chmod(0o640)
    link.symlink_to(real)
    writer(link)(report)
    assert link.is_symlink() and real.read_text().startswith("time,")
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_not_there_is_named(report, tmp_path):
    with pytest.raises(OutputError, match=r"none/flows\.csv: cannot be written: No such file"):
        writer(tmp_path / "none" / "flows.csv")(report)
