"""What goes wrong around a service that runs, or ran: said in one line, where somebody looks."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from host_service import HostService, eventually
from host_snapshots import make_host, shell

from classifier.lab.namespace import Namespace
from classifier.service.lock import ABSTRACT_NAME

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

FEW_FILES = 40
PACKETS = 7


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


def test_clients_that_take_all_file_descriptors_are_told_once_and_the_service_goes_on(
    host: Namespace, tmp_path: Path
) -> None:
    service = HostService(host, tmp_path)
    service.start("prlimit", f"--nofile={FEW_FILES}", "--")
    with ExitStack() as clients:
        for _ in range(2 * FEW_FILES):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(service.runtime_dir / "control.sock"))
        eventually(lambda: "Too many open files" in service.said, "it is told")
        # Also the program that would put this right finds none.
        shell(host, "iptables -t mangle -F nfqc-queue")
        eventually(lambda: "host: " in service.said, "that this failed is told, too")
    eventually(lambda: service.status().returncode == 0, "the service answers again")
    eventually(lambda: "changed by another program and put right" in service.said, "it heals")
    assert "Traceback" not in service.said
    accepting = [line for line in service.said.splitlines() if "accept" in line]
    assert accepting == [
        "nfq-classifier: socket.accept() out of system resource: Too many open files; going on"
    ]
    assert service.stop() == 0, service.said


@pytest.mark.parametrize("files", [6, 20])
def test_a_start_with_too_few_file_descriptors_names_the_limit_and_changes_nothing(
    host: Namespace, tmp_path: Path, files: int
) -> None:
    said = HostService(host, tmp_path).refused("prlimit", f"--nofile={files}", "--")
    assert said == (
        f"nfq-classifier: RLIMIT_NOFILE = {files}: must be at least 32 file descriptors"
        " (ulimit -n; systemd: LimitNOFILE=)\n"
    )


def test_those_who_ask_who_serves_here_cost_no_processor_when_descriptors_are_gone(
    host: Namespace, tmp_path: Path
) -> None:
    service = HostService(host, tmp_path)
    service.start("prlimit", f"--nofile={FEW_FILES}", "--")
    with ExitStack() as clients:
        for _ in range(FEW_FILES):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(service.runtime_dir / "control.sock"))
        eventually(lambda: "Too many open files" in service.said, "there are none left")
        with host.enter():
            asking = clients.enter_context(socket.socket(socket.AF_UNIX))
            asking.connect(ABSTRACT_NAME)
        before = processor_seconds(service.process.pid)
        time.sleep(1.0)
        assert processor_seconds(service.process.pid) - before < 0.5
    assert service.stop() == 0, service.said


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_packets_that_the_kernel_took_from_the_queue_are_in_status_and_told_in_one_line(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration({"wired": 1, "wifi1": 1}))
    figures = gateway.status()["queue"]
    assert [figures[key] for key in ("late-verdicts", "errors", "overruns")] == [0, 0, 0]
    gateway.service.signal(signal.SIGSTOP)
    gateway.send(gateway.flows(PACKETS, "udp", 5000))
    # The kernel then drops whatever waits in any queue, and knows no packet of the verdicts.
    shell(
        gateway.gateway,
        "nft 'add table inet gone; add chain inet gone c { type filter hook input priority 0; }'\n"
        "nft delete table inet gone",
    )
    gateway.service.signal(signal.SIGCONT)
    eventually(lambda: gateway.status()["queue"]["late-verdicts"] == PACKETS, "each is counted")
    told = f"queue: {PACKETS} packets gone before their verdict (last error: No such file"
    eventually(lambda: told in gateway.service.log.read_text(), "the log has it")
    assert gateway.service.log.read_text().count("queue: ") == 1
    assert gateway.stop_service() == 0


def test_status_after_a_crash_says_what_is_left_and_what_to_do(
    host: Namespace, tmp_path: Path
) -> None:
    service = HostService(host, tmp_path)
    none = f"nfq-classifier: {service.runtime_dir}/control.sock: no service is running there"
    assert service.status().stderr == f"{none}\n"
    service.start()
    other = HostService(host, tmp_path / "other")
    elsewhere = other.status()
    assert elsewhere.returncode == 1
    assert f"held by process {service.process.pid} (" in elsewhere.stderr
    service.process.kill()
    service.end()
    crashed = service.status()
    assert crashed.returncode == 1
    assert crashed.stderr == (
        f"{none}, but its rules are in place and new flows pass as direct"
        ' (queue.overload = "drop": they are dropped): run or down\n'
    )
    assert "restored sysctl net/ipv4/ip_forward = 0\n" in service.command("down").stdout
    assert service.status().stderr == f"{none}\n"
    service.start()
    assert json.loads(service.status("--json").stdout)["healed"] == 0
    assert service.stop() == 0
    assert service.status().stderr == f"{none}\n"
