"""One gateway per network namespace, held by real processes in real namespaces."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from classifier.errors import ConflictError
from classifier.lab.namespace import Namespace
from classifier.service.lock import ABSTRACT_NAME, NamespaceLock

# Waits for a line, takes the lock, says so, and holds it until its input ends.
SERVICE = """
import sys
from classifier.errors import ConflictError
from classifier.service.lock import NamespaceLock
print("ready", flush=True)
sys.stdin.readline()
try:
    lock = NamespaceLock()
except ConflictError as refusal:
    print(refusal, flush=True)
else:
    print("held", *lock.warnings, flush=True)
    sys.stdin.read()
"""
# Somebody else has the name first; what it does then is appended.
SQUATTER = f"""
import os, socket, sys
os.setgroups([]), os.setgid(65534), os.setuid(65534)
name = {ABSTRACT_NAME!r}
squatting = socket.socket(socket.AF_UNIX)
squatting.bind(name)
"""
SQUATTERS = {
    "it listens": "squatting.listen()",
    "it does not listen": "",
    "nobody can connect any more": """
squatting.listen(0)
clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
for client in clients:
    client.setblocking(False)
    client.connect_ex(name)
""",
}
several_users = pytest.mark.skipif(
    int(Path("/proc/self/uid_map").read_text().split()[2]) == 1,
    reason="a user namespace of somebody who is not root has one user",
)


@pytest.fixture
def other() -> Iterator[Namespace]:
    with Namespace.create("other") as other:
        yield other


def launch(namespace: Namespace, script: str = SERVICE) -> subprocess.Popen[str]:
    process = namespace.popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert said(process) == "ready"
    return process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def let_go(*processes: subprocess.Popen[str]) -> list[str]:
    """Have all take the lock at the same time; what each of them said."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return [said(process) for process in processes]


def test_of_eight_services_started_at_once_exactly_one_serves_and_the_others_name_it(
    host: Namespace,
) -> None:
    processes = [launch(host) for _ in range(8)]
    answers = let_go(*processes)
    assert answers.count("held") == 1, answers
    holder = processes[answers.index("held")]
    answers.remove("held")
    for refusal in answers:
        assert f"already, by process {holder.pid} ({sys.executable} -c ?import sys" in refusal
        assert refusal.endswith("; stop it first")


def test_each_of_two_namespaces_has_its_gateway(host: Namespace, other: Namespace) -> None:
    assert let_go(launch(host), launch(other)) == ["held", "held"]


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_the_next_can_start_however_the_first_ended(host: Namespace, end: str) -> None:
    first = launch(host)
    assert let_go(first) == ["held"]
    with host.enter():
        connected = socket.socket(socket.AF_UNIX)
    with connected:  # Somebody who stays connected keeps nothing.
        connected.connect(ABSTRACT_NAME)
        if end == "killed":
            first.kill()
        else:
            assert first.stdin is not None
            first.stdin.close()
        first.wait(30)
        assert let_go(launch(host)) == ["held"]


def test_a_program_that_a_service_started_does_not_hold_the_namespace_after_it(
    host: Namespace,
) -> None:
    with host.enter():
        first = NamespaceLock()
        with subprocess.Popen(["sleep", "infinity"]) as child:
            first.release()
            NamespaceLock().release()
            child.kill()


@several_users
@pytest.mark.parametrize("how", SQUATTERS)
def test_a_local_user_who_takes_the_name_first_keeps_no_gateway_from_starting(
    host: Namespace, how: str
) -> None:
    ready = '\nprint("ready", flush=True)\nsys.stdin.read()\n'
    squatter = launch(host, SQUATTER + SQUATTERS[how] + ready)
    begun = time.monotonic()
    with host.enter():
        lock = NamespaceLock()
    assert time.monotonic() - begun < 10
    [warning] = lock.warnings
    who = f"process {squatter.pid} (" if how == "it listens" else "a silent process"
    assert warning.startswith(f"the socket @nfq-classifier is held by {who}")
    assert ("of user 65534" in warning) == (how == "it listens")
    lock.release()


def test_a_service_is_still_named_after_more_have_asked_than_can_wait(host: Namespace) -> None:
    """A unit that is restarted every second asks 86400 times a day."""
    with host.enter():
        lock = NamespaceLock()
        for _ in range(500):
            with pytest.raises(ConflictError, match=f"by process {os.getpid()} "):
                NamespaceLock()
            lock.turn_away()
        lock.release()
        NamespaceLock().release()
