"""Start: from nothing to a gateway that serves, next to a script that types in the same plan."""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.result import OURS, Peer, Result, Times, compare
from classifier.errors import LabError
from classifier.lab.namespace import Namespace

HELP = "a start with three uplinks, to READY: has to take less than 0.5 s (5e8 ns)"

PEERS = (
    Peer(OURS, "nfq-classifier run, until it tells the service manager READY=1"),
    Peer("script", "bash with ip, sysctl and iptables-restore, every line of the same plan"),
)
_READY_SECONDS = 30.0
_CONFIG = """
[gateway]
lan = ["lan0"]
[balancers.all]
uplinks = ["a", "b", "c"]
sticky = "remote"
[[rules]]
name = "the rest"
use = "all"
""" + "".join(
    f'[uplinks.{name}]\ninterface = "eth{i}"\ngateway = "192.0.{i}.1"\n'
    for i, name in enumerate("abc")
)
_LINKS = """
for i in eth0 eth1 eth2 lan0; do
    ip link add $i type veth peer name peer-$i
    ip link set peer-$i up
    ip link set $i up
done
for i in 0 1 2; do ip addr add 192.0.$i.2/24 dev eth$i; done
ip addr add 10.9.0.1/24 dev lan0
ip route add default via 192.0.0.1
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """It has no options of its own."""


def run(options: argparse.Namespace) -> Result:
    """Raises LabError when a start fails."""
    with tempfile.TemporaryDirectory(prefix="nfq-classifier-bench-") as folder:
        rounds = [
            {OURS: _service(Path(folder)), "script": _script(Path(folder))}
            for _ in range(options.rounds + 1)
        ][1:]  # the first brings the files into memory
    return compare("start", "start", 1, PEERS, rounds)


@contextmanager
def _host(folder: Path) -> Iterator[tuple[Namespace, list[str]]]:
    """A host, and the words after a command that name its file and directories."""
    config = folder / "gateway.toml"
    config.write_text(_CONFIG)
    with Namespace.create("host") as host:
        host.run(["bash", "-eu", "-c", _LINKS])
        yield host, [str(config), "--state-dir", str(folder / "state")]


def _service(folder: Path) -> Times:
    address = str(folder / "notify")
    Path(address).unlink(missing_ok=True)
    with _host(folder) as (host, words), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(address)
        told.settimeout(_READY_SECONDS)
        command = [sys.executable, "-m", "nfq_classifier", "run", *words]
        begun, cpu = time.perf_counter_ns(), _children()
        process = host.popen(
            [*command, "--runtime-dir", str(folder / "run")],
            env={**os.environ, "NOTIFY_SOCKET": address},
            stderr=subprocess.DEVNULL,
        )
        try:
            if told.recv(64) != b"READY=1":
                raise LabError("the service told something else than READY=1")
            wall = time.perf_counter_ns() - begun
        except TimeoutError as error:
            raise LabError(f"the service is not ready after {_READY_SECONDS:.0f} s") from error
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    return Times(cpu=(_children() - cpu) * 1e9, wall=wall)


def _script(folder: Path) -> Times:
    with _host(folder) as (host, words):
        plan = host.run([sys.executable, "-m", "nfq_classifier", "plan", *words, "--json"])
        steps = "\n".join(step["text"] for step in json.loads(plan.stdout)["steps"])
        begun, cpu = time.perf_counter_ns(), _children()
        host.run(["bash", "-eu", "-c", steps])
        wall = time.perf_counter_ns() - begun
    return Times(cpu=(_children() - cpu) * 1e9, wall=wall)


def _children() -> float:
    """Seconds of processor that children which have ended took so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
