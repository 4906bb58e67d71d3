"""A sweep on a Dask cluster: a real scheduler and two workers, processes of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from distributed import Client

from classifier.errors import ClassifierError
from classifier.sweep import sweep

POLICIES = ["nth.toml", "all-b.toml"]
CAPTURES = ["six.pcap", "ten.pcap"]
LOCAL = ["--host", "127.0.0.1", "--no-dashboard"]
SECONDS = 60


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two workers."""
    scratch = tmp_path_factory.mktemp("dask")
    file = scratch / "scheduler.json"
    with ExitStack() as running:
        start(running, scratch, "scheduler", *LOCAL, "--port", "0", "--scheduler-file", str(file))
        for name in ("one", "two"):
            start(
                running, scratch, "worker", *LOCAL, "--scheduler-file", str(file), "--no-nanny",
                "--nthreads", "1", "--name", name, "--local-directory", str(scratch / name),
            )  # fmt: skip
        deadline = time.monotonic() + SECONDS
        while not file.exists():
            assert time.monotonic() < deadline, "no scheduler"
            time.sleep(0.05)
        with Client(scheduler_file=str(file), timeout=SECONDS, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=SECONDS)
            address = client.scheduler.address
        yield address


def start(running: ExitStack, scratch: Path, program: str, *options: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{program}", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=scratch,
    )
    running.callback(process.wait)
    running.callback(process.kill)


def test_a_cluster_finds_what_this_machine_finds(folder: Path, scheduler: str) -> None:
    assert sweep(POLICIES, CAPTURES, dask=scheduler) == sweep(POLICIES, CAPTURES)


def test_a_task_that_fails_on_a_cluster_is_named(folder: Path, scheduler: str) -> None:
    (folder / "six.pcap").write_bytes(b"not a capture")
    rows = sweep("nth.toml", CAPTURES, dask=scheduler, out="table.csv")
    assert "packet 1, byte 0" in str(rows[0]["error"])
    assert rows[1]["flows"] == 10


def test_a_scheduler_that_is_not_there_is_told(folder: Path) -> None:
    with pytest.raises(ClassifierError, match=r"Dask scheduler tcp://127\.0\.0\.1:9: "):
        sweep("nth.toml", CAPTURES, dask="tcp://127.0.0.1:9")
