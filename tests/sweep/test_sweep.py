"""`classifier.sweep`: every policy over every set of captures, each pair once."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from pyarrow import parquet

from classifier.errors import ConfigError, UsageError
from classifier.sweep import sweep

POLICIES = ["nth.toml", "all-b.toml"]
CAPTURES = ["six.pcap", "ten.pcap"]


def test_every_policy_runs_over_every_set_of_captures(folder: Path) -> None:
    rows = sweep(POLICIES, CAPTURES, jobs=2)
    assert [(row["policy"], row["captures"]) for row in rows] == [
        ("nth.toml", "six.pcap"),
        ("nth.toml", "ten.pcap"),
        ("all-b.toml", "six.pcap"),
        ("all-b.toml", "ten.pcap"),
    ]
    assert [row["flows"] for row in rows] == [6, 10, 6, 10]
    assert [row["uplinks.a.flows"] for row in rows] == [3, 5, 0, 0]
    assert [row["uplinks.b.share"] for row in rows] == [0.5, 0.5, 1.0, 1.0]
    assert all(row["rules.rest"] == row["flows"] and row["error"] == "" for row in rows)


def test_a_set_may_have_several_captures(folder: Path) -> None:
    (row,) = sweep("nth.toml", {"both": ["six.pcap", "ten.pcap"]})
    assert (row["captures"], row["packets"]) == ("both", 16)


def test_keys_take_every_combination_of_values(folder: Path) -> None:
    values = {
        "balancers.all.uplinks": [{"a": 3, "b": 1}, {"a": 1, "b": 1}],
        "rules[1].to_ports": [[443], [25]],
    }
    rows = sweep("nth.toml", "ten.pcap", values=values, jobs=2)
    assert [
        (row["balancers.all.uplinks"], row["rules[1].to_ports"], row["uplinks.a.flows"])
        for row in rows
    ] == [
        ("{ a = 3, b = 1 }", "[443]", 10),
        ("{ a = 3, b = 1 }", "[25]", 8),
        ("{ a = 1, b = 1 }", "[443]", 10),
        ("{ a = 1, b = 1 }", "[25]", 5),
    ]


def test_a_file_may_name_policies_and_values(folder: Path) -> None:
    (folder / "sets").mkdir()
    (folder / "sets" / "both.toml").write_text(
        'policies = ["../nth.toml", "../all-b.toml"]\n'
        "[values]\n"
        'balancers.all.method = ["nth", "hash"]\n'
        '"uplinks.a.weight" = [1, 2]\n'
    )
    rows = sweep("sets/both.toml", "six.pcap")
    assert len(rows) == 8
    assert {row["balancers.all.method"] for row in rows} == {"nth", "hash"}
    assert {row["policy"] for row in rows} == {"sets/../nth.toml", "sets/../all-b.toml"}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_is_finished_is_not_run_again(folder: Path, ending: str) -> None:
    out = folder / f"table.{ending}"
    done: list[str] = []

    def run(policies: list[str], captures: list[str]) -> list[dict[str, int | float | str]]:
        done.clear()
        return sweep(
            policies, captures, out=out, jobs=1, progress=lambda name, _error: done.append(name)
        )

    first = run(["nth.toml"], CAPTURES)
    assert len(done) == 2
    written = out.read_bytes()
    assert run(["nth.toml"], CAPTURES) == first
    assert done == []
    assert out.read_bytes() == written
    more = run(POLICIES, CAPTURES)
    assert done == ["all-b.toml over six.pcap", "all-b.toml over ten.pcap"]
    assert more[:2] == first
    assert [row["uplinks.b.flows"] for row in more] == [3, 5, 6, 10]
    # A policy or a capture that has changed is another one.
    (folder / "nth.toml").write_text((folder / "nth.toml").read_text().replace("[25]", "[443]"))
    os.utime(folder / "ten.pcap", ns=(0, 0))
    run(POLICIES, CAPTURES)
    assert done == [
        "nth.toml over six.pcap", "nth.toml over ten.pcap", "all-b.toml over ten.pcap",
    ]  # fmt: skip


def test_another_seed_is_another_task(folder: Path) -> None:
    sweep("nth.toml", "six.pcap", out="table.csv", seed=1)
    with pytest.raises(UsageError, match=r"--out table\.csv: is the table of another sweep"):
        sweep("nth.toml", "six.pcap", out="table.csv", seed=2)


def test_a_parquet_table_has_the_same_rows(folder: Path) -> None:
    rows = sweep(POLICIES, CAPTURES, out="table.parquet")
    read = parquet.read_table("table.parquet").to_pylist()
    assert [{k: v for k, v in row.items() if v is not None} for row in read] == rows


def test_a_file_that_is_no_table_is_not_written_over(folder: Path) -> None:
    (folder / "notes.csv").write_text("day,done\nmonday,yes\n")
    with pytest.raises(UsageError, match=r"--out notes\.csv: is no table of a sweep"):
        sweep("nth.toml", "six.pcap", out="notes.csv")
    (folder / "notes.parquet").write_text("nothing of the kind")
    with pytest.raises(UsageError, match=r"--out notes\.parquet: is no table of a sweep"):
        sweep("nth.toml", "six.pcap", out="notes.parquet")
    with pytest.raises(UsageError, match=r"--out table\.txt: must end in \.csv or \.parquet"):
        sweep("nth.toml", "six.pcap", out="table.txt")
    assert (folder / "notes.csv").read_text() == "day,done\nmonday,yes\n"


def test_a_task_that_fails_is_named_and_the_rest_goes_on(folder: Path) -> None:
    (folder / "six.pcap").write_bytes(b"not a capture")
    rows = sweep("nth.toml", CAPTURES, out="table.csv", jobs=2)
    assert "packet 1, byte 0" in str(rows[0]["error"])
    assert "flows" not in rows[0]
    assert (rows[1]["error"], rows[1]["flows"]) == ("", 10)
    # It is tried again the next time.
    tried: list[str] = []
    sweep("nth.toml", CAPTURES, out="table.csv", progress=lambda name, _: tried.append(name))
    assert tried == ["nth.toml over six.pcap"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_method_that_fails_is_named_in_the_table_and_run_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """It is no answer of the method, but also no reason to have no numbers."""
    monkeypatch.syspath_prepend(str(folder))
    (folder / "odd.py").write_text(
        "class Odd:\n"
        "    def select(self, flow, uplinks, now):\n"
        "        if flow.sport < 40004:\n"
        "            return uplinks[0]\n"
        "        raise LookupError('no idea')\n"
    )
    policy = (folder / "nth.toml").read_text().replace('"nth"', '"odd:Odd"')
    (folder / "odd.toml").write_text(policy)
    out = folder / f"table.{ending}"
    tried: list[str] = []

    def run() -> list[dict[str, int | float | str]]:
        tried.clear()
        return sweep(
            ["nth.toml", "odd.toml"], "six.pcap", out=out, jobs=1,
            progress=lambda name, error: tried.append(f"{name} {error}"),
        )  # fmt: skip

    nth, odd = run()
    assert (nth["method_failures"], nth["method_error"]) == (0, "")
    assert (odd["method_failures"], odd["flows"], odd["error"]) == (2, 6, "")
    assert "balancer all: its method odd:Odd failed 2 times" in str(odd["method_error"])
    assert "LookupError: no idea" in str(odd["method_error"])
    run()
    assert tried == ["odd.toml over six.pcap None"]
    (folder / "odd.py").write_text((folder / "odd.py").read_text().replace("40004", "50000"))
    assert run()[1]["method_failures"] == 0
    run()
    assert tried == []


def test_a_process_that_is_killed_takes_no_other_task_with_it(folder: Path) -> None:
    """As when memory runs out. The capture is a pipe that nobody writes to, so it waits there."""
    (folder / "six.pcap").unlink()
    os.mkfifo(folder / "six.pcap")
    killed: list[int] = []

    def kill(name: str, _error: str | None) -> None:
        if name == "nth.toml over ten.pcap":
            killed.extend(workers())
            for process in killed:
                os.kill(process, signal.SIGKILL)

    rows = sweep("nth.toml", CAPTURES, jobs=2, progress=kill)
    assert len(killed) == 2
    assert [row["error"] for row in rows] == ["its process was killed by SIGKILL", ""]
    assert rows[1]["flows"] == 10


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_smaller_sweep_does_not_remove_rows_of_a_larger_one(folder: Path, ending: str) -> None:
    table = folder / f"table.{ending}"
    (folder / f"{table.name}.new").write_text("of the user")
    sweep("nth.toml", CAPTURES, out=table.name)
    before = table.read_bytes()
    with pytest.raises(UsageError, match="has 1 finished rows that are no part of this sweep"):
        sweep("nth.toml", "six.pcap", out=table.name)
    assert table.read_bytes() == before
    assert (folder / f"{table.name}.new").read_text() == "of the user"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_sweep_of_fewer_values_does_not_remove_rows_of_the_others(
    folder: Path, ending: str
) -> None:
    table = folder / f"table.{ending}"
    weights = {"uplinks.a.weight": [1, 2]}
    more = {**weights, "balancers.all.method": ["nth", "hash"]}
    sweep("nth.toml", "six.pcap", values=more, out=table)
    before = table.read_bytes()
    for fewer in (weights, {**more, "uplinks.a.weight": [1]}):
        with pytest.raises(UsageError, match=r"--out .*: has (4|2) finished rows"):
            sweep("nth.toml", "six.pcap", values=fewer, out=table)
    assert table.read_bytes() == before
    more["uplinks.a.weight"] = [1, 2, 3]
    assert len(sweep("nth.toml", "six.pcap", values=more, out=table)) == 6


def test_a_sweep_goes_on_when_a_broken_capture_has_been_mended(folder: Path) -> None:
    good = (folder / "six.pcap").read_bytes()
    (folder / "six.pcap").write_bytes(b"not a capture")
    assert sweep("nth.toml", CAPTURES, out="table.csv")[0]["error"]
    (folder / "six.pcap").write_bytes(good)
    assert [row["flows"] for row in sweep("nth.toml", CAPTURES, out="table.csv")] == [6, 10]


def test_no_process_is_left_when_a_sweep_is_interrupted(folder: Path) -> None:
    (folder / "six.pcap").unlink()
    os.mkfifo(folder / "six.pcap")

    def interrupt(_name: str, _error: str | None) -> None:
        assert len(workers()) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep("nth.toml", CAPTURES, jobs=2, out="table.csv", progress=interrupt)
    assert workers() == []
    # What was finished until then is.
    assert "nth.toml,ten.pcap,9.0,10,10," in (folder / "table.csv").read_text()


def workers() -> list[int]:
    """Processes of this one that do tasks."""
    found = []
    for thread in Path("/proc/self/task").iterdir():
        for process in (thread / "children").read_text().split():
            command = Path(f"/proc/{process}/cmdline").read_bytes()
            if b"classifier.sweep.worker" in command:
                found.append(int(process))
    return found


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"balancers.all.method": ["nth", "nht"]}, 'balancers.all.method="nht": '),
        ({"balancers.all.metod": ["nth"]}, "unknown key; did you mean method?"),
    ],
    ids=["value", "key"],
)
def test_a_wrong_policy_is_told_before_anything_runs(
    folder: Path, values: dict[str, list[object]], said: str
) -> None:
    with pytest.raises(ConfigError, match=r"nth\.toml ") as caught:
        sweep("nth.toml", "six.pcap", values=values, out="table.csv")
    assert said in str(caught.value)
    assert not (folder / "table.csv").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rules[9].use": ["all"]}, "values of rules[9].use: the policy has no place for [9]"),
        ({"a..b": [1]}, "values of 'a..b': is no key"),
        ({"a.": [1]}, "values of 'a.': is no key"),
        ({"": [1]}, "values of '': is no key"),
        ({"queue.length": []}, "values of queue.length: must not be empty"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_a_wrong_key_is_told(folder: Path, values: dict[str, list[object]], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        sweep("nth.toml", "six.pcap", values=values)
    assert str(caught.value).startswith(said)


def test_a_capture_that_is_not_there_is_told_before_anything_runs(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"ten2\.pcap: No such file or directory"):
        sweep("nth.toml", ["six.pcap", "ten2.pcap"], out="table.csv")
    with pytest.raises(UsageError, match="standard input can be read only once"):
        sweep("nth.toml", "-")


def test_a_sweep_works_from_a_script_without_a_main_guard(folder: Path) -> None:
    """Processes that import the script again, as multiprocessing's do, would sweep in turn."""
    import subprocess

    (folder / "script.py").write_text(
        "from classifier import sweep\nprint(len(sweep('nth.toml', ['six.pcap', 'ten.pcap'])))\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")
