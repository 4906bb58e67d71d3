"""Signals, a queue that breaks, `down` under a running service: nothing is left half done."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_service import HostService, eventually, running
from host_snapshots import make_host, shell, snapshot

from classifier.lab.namespace import Namespace

BREAKABLE = """
import os, signal, socket, sys, threading
from classifier.commands import main

def break_queue():
    # The queue's socket becomes something that no packet can be read from.
    signal.sigwait({signal.SIGUSR1})
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            queue = socket.socket(fileno=os.dup(descriptor))
        except OSError:
            continue
        with queue:
            if (queue.family, queue.proto) == (socket.AF_NETLINK, 12):
                os.dup2(os.open(os.devnull, os.O_RDONLY), descriptor)

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
threading.Thread(target=break_queue, daemon=True).start()
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_stop_that_is_asked_for_again_and_again_is_clean(
    host: Namespace, tmp_path: Path, number: signal.Signals
) -> None:
    before = snapshot(host)
    service = HostService(host, tmp_path)
    service.start()
    while service.process.poll() is None:
        service.process.send_signal(number)
        time.sleep(0.001)  # as often as it can take them, not for luck
    assert service.process.returncode == 0
    assert "stopped: the host is as it was found" in service.said
    assert snapshot(host) == before


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.05, 0.1, 0.15, 0.2])
def test_a_stop_during_the_start_leaves_nothing(
    host: Namespace, tmp_path: Path, moment: float
) -> None:
    before = snapshot(host)
    service = HostService(host, tmp_path)
    service.launch()
    # From the lock on the start has begun; what it has done after `moment` is left to chance.
    eventually((service.runtime_dir / "lock").exists, "the service takes its lock")
    time.sleep(moment)
    assert service.stop() == 0
    assert snapshot(host) == before


def test_a_hangup_reloads_and_does_not_end_the_service(host: Namespace, tmp_path: Path) -> None:
    with running(host, tmp_path) as service:
        service.process.send_signal(signal.SIGHUP)
        service.wait_for("reloaded ")
        assert service.status().returncode == 0


def test_closed_input_and_output_do_not_matter(host: Namespace, tmp_path: Path) -> None:
    before = snapshot(host)
    service = HostService(host, tmp_path)
    service.launch("bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash")
    eventually(lambda: service.status().returncode == 0, "the service answers")
    assert service.stop() == 0
    assert snapshot(host) == before


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(
    host: Namespace, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        service = HostService(host, tmp_path)
        service.launch(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert systemd.recv(100) == b"READY=1"
        assert "-A nfqc-queue" in host.run(["iptables-save"]).stdout
        assert systemd.recv(100) == b"STATUS=wired up, wifi up"
        assert service.stop() == 0
        assert systemd.recv(100) == b"STOPPING=1"


def test_systemd_may_listen_at_an_abstract_address(host: Namespace, tmp_path: Path) -> None:
    with host.enter():  # abstract addresses belong to a network namespace
        systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with systemd:
        systemd.bind("\0nfq-classifier-test")
        systemd.settimeout(30)
        service = HostService(host, tmp_path)
        service.launch(NOTIFY_SOCKET="@nfq-classifier-test")
        assert systemd.recv(100) == b"READY=1"
        assert service.stop() == 0


def test_a_queue_that_breaks_ends_the_service_and_leaves_the_rules_for_the_next(
    host: Namespace, tmp_path: Path
) -> None:
    """As after a crash: established flows go on, new ones pass as direct until it runs again."""
    before = snapshot(host)
    service = HostService(host, tmp_path)
    service.program[1:] = ["-c", BREAKABLE]
    service.start()
    during = snapshot(host)
    service.process.send_signal(signal.SIGUSR1)

    def ended_by_a_new_flow() -> bool:
        with host.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"the reader wakes up, and finds out", ("203.0.113.9", 7))
        return service.process.poll() is not None

    eventually(ended_by_a_new_flow, "the service ends")
    assert service.end() == 1
    assert "queue 0 cannot be read any more" in service.said
    assert "exiting, host state kept" in service.said
    assert "Traceback" not in service.said
    assert snapshot(host) == during
    service.program[1:] = ["-m", "classifier"]
    service.start()
    assert service.stop() == 0
    assert snapshot(host) == before


def test_down_under_a_running_service_removes_all_and_names_it(
    host: Namespace, tmp_path: Path
) -> None:
    before = snapshot(host)
    with running(host, tmp_path) as service:
        done = service.command("down", *service.directories)
        assert done.returncode == 0
        pid = service.process.pid
        assert f"still running, with nothing left to classify: process {pid} (" in done.stderr
        assert snapshot(host) == before
        [warning] = json.loads(service.status("--json").stdout)["warnings"]
        assert "the rules were removed by `down`" in warning
    assert snapshot(host) == before


def test_a_status_that_cannot_be_told_does_not_end_the_service(
    host: Namespace, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    with_fault = f'#!/bin/sh\ntest ! -e {programs}/fault && exec /usr/sbin/iptables-nft "$@"\n'
    listing = programs / "iptables-nft"
    listing.write_text(f'{with_fault}echo "out of memory" >&2\nexit 4\n')
    listing.chmod(0o755)
    service = HostService(host, tmp_path)
    service.start("env", f"PATH={programs}:/usr/sbin:/usr/bin:/sbin:/bin")
    (programs / "fault").touch()
    done = service.status()
    assert (done.returncode, "out of memory" in done.stderr) == (1, True)
    (programs / "fault").unlink()
    assert service.status().returncode == 0
    assert service.stop() == 0


def test_interfaces_come_and_go_while_it_runs(host: Namespace, tmp_path: Path) -> None:
    """An uplink and the LAN are made anew; the rest stays, and the stop leaves nothing."""
    with running(host, tmp_path) as service:
        shell(
            host,
            "ip link del eth1; ip link del eth2\n"
            "for i in 1 2; do ip link add eth$i type veth peer name peer$i; done\n"
            "ip link set eth1 up; ip addr add 10.1.0.7/24 dev eth1; ip link set peer1 up",
        )
        assert service.status().returncode == 0
        routes = host.run(["ip", "route", "show", "table", "all"]).stdout
        assert "table 20801 proto 78" in routes
        eventually(
            lambda: "table 20802" in host.run(["ip", "route", "show", "table", "all"]).stdout,
            "the new eth1 is followed",
        )
    left = host.run(["ip", "rule"]).stdout + host.run(["iptables-save"]).stdout
    assert "2080" not in left
    assert "nfqc" not in left
