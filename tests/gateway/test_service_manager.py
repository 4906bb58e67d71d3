"""What a service manager hears, and what it does with that: a service that hangs is replaced."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from host_service import eventually
from supervisor import Supervisor

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

WEIGHTS = {"wired": 1, "wifi1": 1}
SYSCALL_POLL = "7"  # x86_64; see stopped_queue_thread
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WAIT_FOR_THREADS = 0x40000000  # __WALL


def test_a_service_that_hangs_is_replaced_while_established_flows_go_on_and_new_ones_pass(
    lab: StartLab, configuration: Configuration, tmp_path: Path
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    with Supervisor(gateway, tmp_path, "--keep") as supervisor, ExitStack() as opened:
        running = [
            opened.enter_context(gateway.open(flow)) for flow in gateway.flows(10, "tcp", 8080)
        ]
        hung = supervisor.process
        supervisor.signal(signal.SIGSTOP)
        began = time.monotonic()
        echoes = [connection.echo() for connection in running]
        # Their first packets wait in the queue of the hung service, which ends with it; what is
        # sent again passes.
        fresh = gateway.connect(gateway.flows(20, "tcp", 8080), timeout=20)
        assert None not in fresh.values()
        supervisor.wait_for("READY=1", 2)
        assert time.monotonic() - began < 20
        assert echoes == [b"still there?"] * 10
        assert [connection.echo() for connection in running] == [b"still there?"] * 10
        assert supervisor.process is not hung
        assert len(supervisor.killed_after) == 1
        assert set(gateway.connect(gateway.flows(20, "tcp", 8080)).values()) == set(WEIGHTS)


def test_a_queue_thread_that_hangs_alone_is_seen_and_the_service_replaced(
    lab: StartLab, configuration: Configuration, tmp_path: Path
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    with Supervisor(gateway, tmp_path, "--keep") as supervisor:
        assert supervisor.process is not None
        with stopped_queue_thread(supervisor.process.pid):
            assert gateway.status()["queue"]["packets"] == 0, "the loop goes on"
            eventually(lambda: bool(supervisor.killed_after), "it is killed")
        supervisor.wait_for("READY=1", 2)
        assert "queue 0: its thread is hung" in gateway.service.log.read_text()
        assert set(gateway.connect(gateway.flows(20, "tcp", 8080)).values()) == set(WEIGHTS)


def test_the_manager_hears_of_start_states_reloads_and_stop(
    lab: StartLab, configuration: Configuration, tmp_path: Path
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    where = ("--runtime-dir", str(gateway.service.runtime_dir))
    with Supervisor(gateway, tmp_path) as supervisor:
        said = supervisor.messages
        supervisor.wait_for("STATUS=wired up, wifi1 up")
        gateway.service.command("uplink", "wifi1", "drain", *where)
        supervisor.wait_for("STATUS=wired up, wifi1 draining (drained by hand)")
        before, asked = len(said), time.monotonic()
        supervisor.signal(signal.SIGHUP)
        eventually(lambda: "READY=1" in said[before:], "the reload is over")
        (reloading,) = (one for one in said[before:] if one.startswith("RELOADING=1\n"))
        assert int(re.findall(r"^MONOTONIC_USEC=(\d+)$", reloading, re.M)[0]) / 1e6 > asked
        before = len(said)
        gateway.service.config.write_text("broken")
        assert gateway.service.command("reload", *where, check=False).returncode == 2
        eventually(lambda: "READY=1" in said[before:], "one that is refused has an end, too")
        supervisor.wait_for("WATCHDOG=1", said.count("WATCHDOG=1") + 2)
        assert not supervisor.killed_after
        gateway.service.config.write_text(configuration(WEIGHTS))
    assert "STOPPING=1" in said


@contextmanager
def stopped_queue_thread(pid: int) -> Iterator[None]:
    """Of a service, the one thread that reads the queue stands still, whatever the others do.

    Waiting for packets, it is the only one in poll(2).
    """
    tasks = Path(f"/proc/{pid}/task")
    (tid,) = (
        int(task.name)
        for task in tasks.iterdir()
        if (task / "syscall").read_text().split()[0] == SYSCALL_POLL
    )
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    assert ptrace(PTRACE_SEIZE, tid, None, None) == 0, os.strerror(ctypes.get_errno())
    assert ptrace(PTRACE_INTERRUPT, tid, None, None) == 0
    # Only by its tracer, which is this very thread, can it be told from the others, or buried.
    os.waitpid(tid, WAIT_FOR_THREADS)
    assert threading.get_native_id() != tid
    try:
        yield
    finally:
        ptrace(PTRACE_DETACH, tid, None, None)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(tid, WAIT_FOR_THREADS)
