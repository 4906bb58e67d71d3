"""What is asked for, refused or killed in the middle of a change: the rest is done all the same."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_service import CONFIG, SECONDS, HostService, eventually, running
from host_snapshots import WIFI, WIRED, apply_in, make_host, policy, remove_in, shell, snapshot

from classifier.errors import HostError
from classifier.lab.limits import scaled
from classifier.lab.namespace import Namespace

# A reload looks at all tables, other looks at some.
SLOW = """#!/bin/sh
if [ -e {directory}/slow ] && [ $# = 0 ]; then
    touch {directory}/begun
    while [ -e {directory}/slow ]; do sleep 0.01; done
fi
exec /usr/sbin/iptables-nft-save "$@"
"""


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


def test_a_stop_in_the_middle_of_a_reload_leaves_the_host_as_it_was_found(
    host: Namespace, tmp_path: Path
) -> None:
    before = snapshot(host)
    program = tmp_path / "iptables-nft-save"
    program.write_text(SLOW.format(directory=tmp_path))
    program.chmod(0o755)
    service = HostService(host, tmp_path / "service")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    service.start(PATH=f"{tmp_path}:{os.environ['PATH']}", NOTIFY_SOCKET=manager.getsockname())
    service.config.write_text(CONFIG.replace("[gateway]\n", '[gateway]\nhelpers = ["ftp"]\n'))
    slow, begun = tmp_path / "slow", tmp_path / "begun"
    slow.touch()
    service.process.send_signal(signal.SIGHUP)
    eventually(begun.exists, "the reload looks at the host")
    service.process.send_signal(signal.SIGTERM)
    with manager:
        manager.settimeout(scaled(SECONDS))
        while b"STOPPING=1" not in manager.recv(1000):
            pass
    slow.unlink()
    assert service.end() == 0, service.said
    assert "Traceback" not in service.said
    assert snapshot(host) == before


def test_a_route_that_the_kernel_refuses_keeps_other_uplinks_from_nothing(
    host: Namespace, tmp_path: Path
) -> None:
    with running(host, tmp_path) as service:
        # With this mistake its gateway is a broadcast address, which the kernel takes no route by.
        shell(host, "ip addr add 10.1.0.1/30 brd 10.1.0.2 dev eth1")
        shell(host, "for table in 20801 20802; do ip route flush table $table; done")
        service.wait_for("table 20802 proto 78: ")
        shell(host, "ip addr del 10.0.0.1/24 dev eth0; ip addr add 10.0.0.7/24 dev eth0")
        rule = "from 10.0.0.7 lookup 20801 proto 78"
        eventually(lambda: rule in shell(host, "ip rule"), "the other uplink's rule follows")
        route = "default via 10.0.0.2 dev eth0 proto 78"
        table = "ip route show table 20801"
        eventually(lambda: route in shell(host, table), "the other uplink's route is back")
        shell(host, "ip addr del 10.1.0.1/30 dev eth1")
        eventually(lambda: bool(shell(host, "ip route show table 20802")), "its own one too")


def test_what_could_not_be_removed_is_restored_by_the_next_try(host: Namespace) -> None:
    shell(host, "sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=1")
    before = snapshot(host)
    apply_in(host, policy(WIRED, WIFI))
    # What is left then is restored by what the memory says.
    shell(host, "sysctl -qw net.ipv4.conf.eth0.rp_filter=2")

    def refused() -> None:
        raise HostError("the queue: not now")

    with pytest.raises(HostError, match="not all could be removed:\nthe queue: not now"):
        remove_in(host, refused)
    assert "sysctl net/ipv4/ip_forward=0" in shell(host, "iptables-nft -t mangle -S nfqc-memory")
    remove_in(host)
    assert snapshot(host) == before


def test_a_sysctl_that_was_right_before_us_is_right_after_us_whoever_changed_it_meanwhile(
    host: Namespace, tmp_path: Path
) -> None:
    shell(host, "sysctl -qw net.ipv4.ip_forward=1")
    before = snapshot(host)["sysctls"]
    with running(host, tmp_path) as service:
        shell(host, "sysctl -qw net.ipv4.ip_forward=0")
        service.wait_for("changed by another program and put right: sysctls")
    assert snapshot(host)["sysctls"] == before


def test_what_follows_a_switch_is_restored_also_after_a_stop_that_was_killed_between_them(
    host: Namespace, tmp_path: Path
) -> None:
    shell(host, "sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.eth3.forwarding=1")
    before = snapshot(host)
    service = HostService(host, tmp_path)
    service.start()
    service.process.kill()
    service.end()
    shell(host, "sysctl -qw net.ipv4.ip_forward=0")  # as far as the stop came
    assert shell(host, "sysctl -n net.ipv4.conf.eth3.forwarding") == "0\n"
    done = service.command("down")
    assert done.returncode == 0, done.stderr
    assert snapshot(host) == before
