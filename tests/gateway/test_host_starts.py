"""Starts on odd hosts: what is missing is named, what can work does, a refusal changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_service import CONFIG, WITH_IPV6, HostService, as_nobody, running, without
from host_snapshots import make_host, shell, snapshot

from classifier.lab.namespace import Namespace


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


@pytest.mark.parametrize(
    ("hidden", "config", "named"),
    [
        ("*tables*", CONFIG, "iptables: not found in PATH or /usr/sbin (Debian package: iptables)"),
        (
            "ip6tables*",
            WITH_IPV6,
            "ip6tables-nft-restore: not found in PATH or /usr/sbin (Debian package",
        ),
        (
            "iptables-*restore",
            CONFIG,
            "iptables-nft-restore: not found in PATH or /usr/sbin (Debian package",
        ),
    ],
    ids=["iptables", "ip6tables", "iptables-restore"],
)
def test_a_program_that_is_missing_is_named_with_its_package(
    host: Namespace, tmp_path: Path, hidden: str, config: str, named: str
) -> None:
    before = snapshot(host)
    assert named in HostService(host, tmp_path, config).refused(*without(hidden, tmp_path))
    assert snapshot(host) == before


@pytest.mark.parametrize("hidden", ["ip6tables*", "nft"])
def test_programs_that_are_not_needed_may_be_missing(
    host: Namespace, tmp_path: Path, hidden: str
) -> None:
    before = snapshot(host)
    service = HostService(host, tmp_path)
    service.start(*without(hidden, tmp_path))
    assert service.status().returncode == 0
    assert service.stop() == 0
    assert snapshot(host) == before


@pytest.mark.parametrize(
    ("change", "warning", "states"),
    [
        ("ip link set eth1 down", "uplink wifi: eth1 is down", "down"),
        ("ip -4 addr flush dev eth1", "uplink wifi: eth1 has no IPv4 address", "down"),
        ("ip link set eth2 down", "", "up"),
        ("ip route del default", "the main table has no IPv4 default route", "up"),
        (
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
            "uplink wired: IPv6 is switched off on eth0; it takes no IPv6 flows",
            "up",
        ),
    ],
    ids=["uplink down", "uplink without address", "LAN down", "no default route", "IPv6 off"],
)
def test_what_does_not_work_yet_is_told_and_the_rest_works(
    host: Namespace, tmp_path: Path, change: str, warning: str, states: str
) -> None:
    shell(host, change)
    before = snapshot(host)
    with running(host, tmp_path, WITH_IPV6) as service:
        figures = json.loads(service.status("--json").stdout)
        assert warning in service.said
        assert any(warning in said for said in figures["warnings"]) or not warning
        assert figures["uplinks"]["wired"]["state"] == "up"
        assert figures["uplinks"]["wifi"]["state"] == states
        rules = host.run(["iptables-nft-save"]).stdout
        assert "-A nfqc-queue" in rules
    assert snapshot(host) == before


def test_with_none_of_its_interfaces_it_does_not_start(host: Namespace, tmp_path: Path) -> None:
    shell(host, "for i in 0 1 2; do ip link del eth$i; done")
    before = snapshot(host)
    keys = ("gateway.lan", "uplinks.wired.interface", "uplinks.wifi.interface")
    names = ("eth2", "eth0", "eth1")
    assert HostService(host, tmp_path).refused() == "".join(
        f'nfq-classifier: {key}: this host has no interface "{name}"; it has eth3, peer3\n'
        for key, name in zip(keys, names, strict=True)
    )
    assert snapshot(host) == before


@pytest.mark.parametrize("command", ["run", "plan", "down"])
def test_without_the_right_to_change_the_network_nothing_is_begun(
    host: Namespace, tmp_path: Path, command: str
) -> None:
    before = snapshot(host)
    service = HostService(host, tmp_path)
    no_right = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--"]
    done = service.command(command, str(service.config), before=no_right)
    assert done.returncode == 1
    assert done.stderr == (
        "nfq-classifier: this needs CAP_NET_ADMIN: run it as root, or in a user namespace\n"
    )
    assert snapshot(host) == before
    assert not service.state_dir.exists()


def test_directories_that_cannot_be_used_are_named(host: Namespace, tmp_path: Path) -> None:
    before = snapshot(host)
    service = HostService(host, tmp_path)
    (tmp_path / "file").touch()
    service.runtime_dir = tmp_path / "file"
    assert f"runtime directory {tmp_path}/file: " in service.refused()
    service.runtime_dir = tmp_path / ("long" * 30)
    assert "107 bytes" in service.refused()
    service.runtime_dir = tmp_path / "run"
    service.state_dir = tmp_path / "file"
    assert f"{tmp_path}/file/uplinks.json: " in service.refused()
    assert snapshot(host) == before


@pytest.mark.parametrize("content", ['{"wired": 1,', '{"wired": "one"}', "[1]", '{"a": 1, "b": 1}'])
def test_a_damaged_file_of_ids_is_named_and_kept_aside(
    host: Namespace, tmp_path: Path, content: str
) -> None:
    before = snapshot(host)
    service = HostService(host, tmp_path)
    service.state_dir.mkdir()
    file = service.state_dir / "uplinks.json"
    file.write_text(content)
    service.start()
    assert f"{file}: must be a JSON object of uplink names and ids" in service.said
    assert (service.state_dir / "uplinks.json.damaged").read_text() == content
    assert service.stop() == 0
    assert snapshot(host) == before


def test_gateways_of_several_namespaces_do_not_see_each_other(tmp_path: Path) -> None:
    with make_host("one") as one, make_host("two") as two:
        before = snapshot(two)
        with running(one, tmp_path / "one"), running(two, tmp_path / "two") as second:
            assert second.stop() == 0
            assert snapshot(two) == before
            assert "-A nfqc-queue" in one.run(["iptables-nft-save"]).stdout
            second.start()


def test_a_second_gateway_in_one_namespace_is_refused_whatever_its_queue(
    host: Namespace, tmp_path: Path
) -> None:
    """It would take over the rules, and its stop would remove them under the first."""
    with running(host, tmp_path / "one") as first:
        during = snapshot(host)
        second = HostService(host, tmp_path / "two", CONFIG + "[queue]\nfirst = 7\n")
        said = second.refused()
        assert f"already, by process {first.process.pid} (" in said
        assert snapshot(host) == during


def test_only_its_own_user_may_ask_the_service_whatever_the_umask(
    host: Namespace, tmp_path: Path
) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)  # so that it is the socket that refuses
    service = HostService(host, tmp_path)
    service.start("bash", "-c", 'umask 0; exec "$@"', "bash")
    assert (service.runtime_dir / "control.sock").stat().st_mode & 0o777 == 0o600
    assert (service.runtime_dir / "lock").stat().st_mode & 0o022 == 0
    assert (service.state_dir / "uplinks.json").stat().st_mode & 0o022 == 0
    # A user namespace of somebody who is not root has one user, so there is nobody to be.
    if int(Path("/proc/self/uid_map").read_text().split()[2]) > 1:
        done = service.status(before=as_nobody())
        assert done.returncode == 1
        assert "only the service's own user and root may ask" in done.stderr
    assert service.stop() == 0


def test_a_queue_longer_than_its_socket_buffer_is_told(host: Namespace, tmp_path: Path) -> None:
    config = CONFIG + "[queue]\nlength = 1000000\n"
    with running(host, tmp_path, config) as service:
        figures = json.loads(service.status("--json").stdout)
        [warning] = figures["warnings"]
        assert warning.startswith("queue.length is 1000000, but the socket buffer holds ")
        assert warning in service.said
        shown = service.status().stdout
        assert f"warning: {warning}" in " ".join(shown.split())
        assert max(map(len, shown.splitlines())) <= 100


def test_a_host_of_more_interfaces_than_a_queue_knows_is_served(
    host: Namespace, tmp_path: Path
) -> None:
    lines = "".join(f"link add many{number} type ifb\n" for number in range(1100))
    with running(host, tmp_path) as service:
        host.run(["ip", "-batch", "-"], input=lines)
        assert service.status().returncode == 0
