"""A sweep on a Dask cluster: a real scheduler and two workers, processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from distributed import Client

from classifier.errors import ClassifierError
from classifier.sweep import cluster, sweep

POLICIES = ["nth.toml", "all-b.toml"]
CAPTURES = ["six.pcap", "ten.pcap"]
LOCAL = ["--host", "127.0.0.1", "--no-dashboard"]
ONE_PROCESS = ["--no-nanny", "--nthreads", "1"]
SECONDS = 60


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two workers."""
    with ExitStack() as running:
        address, _ = cluster_of_two(running, tmp_path_factory.mktemp("dask"))
        yield address


def cluster_of_two(running: ExitStack, scratch: Path) -> tuple[str, subprocess.Popen[bytes]]:
    """The scheduler's address and process, once both workers are there."""
    scratch.mkdir(exist_ok=True)
    file = scratch / "scheduler.json"
    where = ("--scheduler-file", str(file))
    process = start(running, scratch, "scheduler", *LOCAL, "--port", "0", *where)
    for name in ("one", "two"):
        folder = ("--local-directory", str(scratch / name))
        start(running, scratch, "worker", *LOCAL, *where, *ONE_PROCESS, "--name", name, *folder)
    deadline = time.monotonic() + SECONDS
    while not file.exists():
        assert time.monotonic() < deadline, "no scheduler"
        time.sleep(0.05)
    with Client(scheduler_file=str(file), timeout=SECONDS, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=SECONDS)
        return client.scheduler.address, process


def start(
    running: ExitStack, scratch: Path, program: str, *options: str
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{program}", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=scratch,
    )
    running.callback(process.wait)
    running.callback(process.kill)
    return process


def test_a_cluster_finds_what_this_machine_finds(folder: Path, scheduler: str) -> None:
    assert sweep(POLICIES, CAPTURES, dask=scheduler) == sweep(POLICIES, CAPTURES)


def test_a_task_that_fails_on_a_cluster_is_named(folder: Path, scheduler: str) -> None:
    (folder / "six.pcap").write_bytes(b"not a capture")
    rows = sweep("nth.toml", CAPTURES, dask=scheduler, out="table.csv")
    assert "packet 1, byte 0" in str(rows[0]["error"])
    assert rows[1]["flows"] == 10


def test_a_cluster_that_is_lost_ends_the_sweep_with_what_is_finished(folder: Path) -> None:
    (folder / "six.pcap").unlink()
    os.mkfifo(folder / "six.pcap")  # a task that waits
    with ExitStack() as running:
        address, first = cluster_of_two(running, folder / "scratch")

        def lose(_name: str, _error: str | None) -> None:
            first.kill()

        rows = sweep("nth.toml", CAPTURES, dask=address, out="table.csv", progress=lose)
    assert rows[0]["error"] == "on the cluster: it is lost"
    assert rows[1]["flows"] == 10


def test_a_scheduler_that_is_not_there_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with pytest.raises(ClassifierError, match=r"Dask scheduler tcp://127\.0\.0\.1:9: "):
        sweep("nth.toml", CAPTURES, dask="tcp://127.0.0.1:9")
