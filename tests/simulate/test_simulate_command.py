"""`nfq-classifier simulate` as a person or a script runs it."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from simulated_policies import written

ENDED = {"mean", "median", "p95"}


@pytest.fixture
def policy_file(tmp_path: Path) -> str:
    path = tmp_path / "gateway.toml"
    path.write_text(written("nth", '["a", "b", "c"]'))
    return str(path)


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "classifier", "simulate", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_json_has_the_keys_of_a_replay_and_those_of_loads(policy_file: str) -> None:
    done = simulate(policy_file, "--flows", "2e3", "--seed", "1", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert {"packets", "flows", "malformed", "uplinks", "direct", "rules"} < said.keys()
    assert said["flows"] == 2000
    wired = said["uplinks"]["a"]
    assert wired["share"] == pytest.approx(4 / 7, abs=1 / 2000)
    assert wired["capacity"] == 2_500_000
    assert wired["peak"] <= 2_500_000 and 0 < wired["utilisation"] <= 1
    assert wired["durations"].keys() == said["durations"].keys() == ENDED


def test_the_same_seed_prints_the_same(policy_file: str) -> None:
    words = (policy_file, "--flows", "3000", "--parallel", "20", "--json")
    first, again, other = (simulate(*words, "--seed", seed).stdout for seed in ("5", "5", "6"))
    assert first == again != other


def test_people_get_tables(policy_file: str) -> None:
    words = "--flows 11 --arrivals constant:1 --bytes constant:125k --seed 1"
    done = simulate(policy_file, *words.split())
    assert (done.returncode, done.stderr) == (0, "")
    sums, uplinks, rules = done.stdout.split("\n\n")
    assert sums == (
        "flows               11\n"
        "seconds           10.2\n"
        "offered     1.1 Mbit/s\n"
        "throughput  1.0 Mbit/s"
    )
    rows = [line.split() for line in uplinks.splitlines()]
    assert rows[0][:4] == ["uplink", "flows", "share", "capacity"]
    assert [row[:5] for row in rows[1:]] == [
        ["a", "6", "54.55%", "20.0", "Mbit/s"],
        ["b", "3", "27.27%", "10.0", "Mbit/s"],
        ["c", "2", "18.18%", "5.0", "Mbit/s"],
    ]
    assert rows[1][-4:-1] == ["1", "0.05", "0.0501"]
    assert rules.split() == ["rule", "flows", "rest", "11"]


def test_a_million_flows_take_seconds_and_no_more_memory_than_some(policy_file: str) -> None:
    """Processor time, since other programs may be busy on this machine."""
    program = (
        "import resource, sys; from classifier.commands import main; main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    used, kilobytes = [], []
    for flows in ("1e5", "1e6"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-c", program, "simulate", policy_file, "--flows", flows]
        command += ["--arrivals", "poisson:2000", "--bytes", "exponential:1k", "--seed", "1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime - before.ru_utime)
        kilobytes.append(int(done.stderr))
    assert used[1] < 15
    assert kilobytes[1] < kilobytes[0] + 4096


def test_a_terminal_gets_progress_and_the_same_summary(policy_file: str) -> None:
    words = ["simulate", policy_file, "--flows", "5e5", "--parallel", "50", "--json", "--seed", "2"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "classifier", *words], stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        output, _ = process.communicate(timeout=120)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert process.returncode == 0
    assert output.decode() == simulate(*words[1:]).stdout
    begun = {int(n) for n in re.findall(r"([0-9]+)/500000", shown)}
    assert len(begun) > 1 and 0 < max(begun) <= 500_000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bytes", "pareto:0"], "bytes pareto:0: SHAPE must be a number from 0.01 to 100"),
        (["--flows", "many"], "argument --flows: many must be a number such as 5000 or 1e6"),
        (["--parallel", "2", "--arrivals", "poisson:1"], "argument --arrivals: not allowed with"),
    ],
    ids=["bytes", "flows", "both"],
)
def test_a_wrong_option_is_wrong_usage(policy_file: str, options: list[str], said: str) -> None:
    done = simulate(policy_file, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"nfq-classifier: {said}")
