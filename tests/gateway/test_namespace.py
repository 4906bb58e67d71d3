"""Namespaces hold what is made in them, keep it from the host, and vanish with their process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from classifier.errors import LabError
from classifier.lab.limits import scaled
from classifier.lab.namespace import Namespace

pytestmark = pytest.mark.gateway


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + scaled(seconds)
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return holds()


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace.create("test") as made:
        yield made


def own_namespace() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def test_a_new_namespace_has_a_loopback_that_is_up_and_nothing_else(namespace: Namespace) -> None:
    links = namespace.run(["ip", "-brief", "link"]).stdout.splitlines()
    assert [line.split()[0] for line in links if "@NONE" not in line] == ["lo"]
    assert "LOWER_UP" in namespace.run(["ip", "link", "show", "lo"]).stdout


def test_an_interface_made_in_a_namespace_is_not_seen_outside(namespace: Namespace) -> None:
    namespace.run(["ip", "link", "add", "inside", "type", "veth", "peer", "other"])
    assert "inside" in namespace.run(["ip", "link"]).stdout
    assert "inside" not in subprocess.run(["ip", "link"], capture_output=True, text=True).stdout


def test_the_thread_is_back_where_it_was_also_after_an_error(namespace: Namespace) -> None:
    before = own_namespace()
    with namespace.enter():
        assert own_namespace() == os.fstat(namespace.fileno()).st_ino != before
    assert own_namespace() == before
    with pytest.raises(ZeroDivisionError), namespace.enter():
        raise ZeroDivisionError
    assert own_namespace() == before


def test_a_socket_stays_in_the_namespace_that_it_was_made_in(namespace: Namespace) -> None:
    with namespace.enter():
        listener = socket.create_server(("127.0.0.1", 4711))
    with listener:
        with namespace.enter(), socket.create_connection(("127.0.0.1", 4711), 5) as client:
            assert client.getpeername()[1] == 4711
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", 4711), 0.5)


def test_a_failing_command_is_an_error_with_its_own_words(namespace: Namespace) -> None:
    with pytest.raises(LabError, match=r"ip link set nowhere up failed with 1: .*nowhere"):
        namespace.run(["ip", "link", "set", "nowhere", "up"])
    assert namespace.run(["ip", "link", "set", "nowhere", "up"], check=False).returncode == 1
    with pytest.raises(LabError, match="no-such-program"):
        namespace.run(["no-such-program"])


def test_a_command_reads_the_text_it_is_given(namespace: Namespace) -> None:
    namespace.run(["ip", "-batch", "-"], input="link add x type veth peer y\nlink set x up\n")
    assert ",UP" in namespace.run(["ip", "link", "show", "x"]).stdout


def test_a_command_that_hangs_is_ended_at_its_deadline(namespace: Namespace) -> None:
    with pytest.raises(LabError, match="has not ended after"):
        namespace.run(["sleep", "60"], timeout=0.2)


def test_a_sysctl_is_written_in_the_namespace_alone(namespace: Namespace) -> None:
    outside = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    assert namespace.sysctl("net.ipv4.ip_forward", 1) == "1"
    with Namespace.create("fresh") as fresh:
        assert fresh.sysctl("net.ipv4.conf.lo.rp_filter", 2) == "2"
        assert namespace.sysctl("net.ipv4.conf.lo.rp_filter") == "0"
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == outside


def test_closing_a_namespace_ends_what_was_started_in_it() -> None:
    with Namespace.create("short") as namespace:
        process = namespace.popen(["sleep", "600"])
        assert process.poll() is None
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(LabError, match="closed"):
        namespace.run(["true"])


def test_nothing_is_left_when_the_process_is_killed() -> None:
    """The other end of a veth pair goes with the namespace that vanished."""
    holder = (
        "from classifier.lab.namespace import Namespace\n"
        "import time\n"
        "ns = Namespace.create('held')\n"
        "child = ns.popen(['sleep', '600'])\n"
        "print(ns.fileno(), child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with (
        Namespace.create("watcher") as watcher,
        subprocess.Popen(
            [sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout is not None
        fd, child = map(int, process.stdout.readline().split())
        watcher.run(["ip", "link", "add", "near", "type", "veth", "peer", "far"])
        watcher.run(["ip", "link", "set", "far", "netns", f"/proc/{process.pid}/fd/{fd}"])
        assert "near" in watcher.run(["ip", "link"]).stdout
        process.kill()
        process.wait()
        assert eventually(lambda: "near" not in watcher.run(["ip", "link"]).stdout)
        assert eventually(lambda: not alive(child))
