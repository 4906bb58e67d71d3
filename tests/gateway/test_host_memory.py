"""What is remembered of the host before us holds for this boot, and is believed only then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from host_service import CONFIG, HostService, running
from host_snapshots import make_host, shell, snapshot

from classifier.lab.namespace import Namespace

BEFORE = "sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=1"
# What an administrator has set by the time that the rules of another boot are restored.
AT_THIS_BOOT = "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.eth0.rp_filter=2"


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


def rebooted(host: Namespace, service: HostService, boot: str) -> dict[str, list[str]]:
    """Crash, and then what a reboot does where the rules are saved and restored: only they and
    what was configured come back. The host as it then is."""
    shell(host, BEFORE)
    service.start()
    service.process.kill()
    service.end()
    saved = host.run(["iptables-nft-save"]).stdout
    assert '--comment "sysctl net/ipv4/ip_forward=0"' in saved
    [line] = [line for line in saved.splitlines() if '--comment "boot ' in line]
    text = saved.replace(line, f'-A nfqc-memory -m comment --comment "boot {boot}"')
    shell(host, "nft flush ruleset; ip rule flush protocol 78")
    shell(host, "for table in 20801 20802; do ip route flush table $table; done")
    shell(host, f"sysctl -qw net.ipv4.conf.eth0.src_valid_mark=0\n{AT_THIS_BOOT}")
    host.run(["iptables-nft-restore"], input=text)
    return snapshot(host)


@pytest.mark.parametrize("way", ["down", "stop"])
@pytest.mark.parametrize("boot", ["3f2b0a51-6b7c-4f0e-9d52-000000000000", ""])
def test_what_another_boot_remembered_changes_no_sysctl(
    host: Namespace, tmp_path: Path, way: str, boot: str
) -> None:
    service = HostService(host, tmp_path)
    found = rebooted(host, service, boot)
    if way == "down":
        done = service.command("down")
        assert done.returncode == 0, done.stderr
        assert "sysctl" not in done.stdout
    else:
        service.start()  # over rules without routes
        assert service.status().returncode == 0
        assert service.stop() == 0, service.said
    after = snapshot(host)
    assert after["sysctls"] == found["sysctls"]
    assert "nfqc-" not in "".join(line for lines in after.values() for line in lines)
    assert after["ip rule"] == found["ip rule"]


def test_down_needs_no_file_not_even_a_sound_one(host: Namespace, tmp_path: Path) -> None:
    service = HostService(host, tmp_path)
    before = snapshot(host)
    broken = tmp_path / "broken.toml"
    broken.write_text("[gateway\n")
    for words in ((), (str(broken),), (str(tmp_path / "nowhere.toml"),)):
        service.start()
        service.process.kill()
        service.end()
        done = service.command("down", *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert "restored sysctl net/ipv4/ip_forward = 0\n" in done.stdout
        assert "removed sysctl" not in done.stdout
        assert snapshot(host) == before
        again = service.command("down", *words)
        assert (again.returncode, again.stdout) == (0, "nothing of ours was here\n")


def test_a_renamed_interface_gets_back_what_it_had_and_another_one_of_its_name_keeps_its_own(
    host: Namespace, tmp_path: Path
) -> None:
    shell(host, f"{BEFORE} net.ipv4.conf.eth0.rp_filter=1 net.ipv4.conf.eth1.rp_filter=1")
    with running(host, tmp_path):
        shell(host, "ip link set eth1 down; ip link set eth1 name wan; ip link set wan up")
        shell(host, "sysctl -qw net.ipv4.conf.default.{rp_filter,src_valid_mark}=0")
        shell(host, "ip link add eth1 type veth peer name peer9")
    values = "net.ipv4.conf.wan.rp_filter net.ipv4.conf.wan.src_valid_mark"
    assert shell(host, f"sysctl -n {values}") == "1\n0\n"
    assert shell(host, f"sysctl -n {values.replace('wan', 'eth1')}") == "0\n0\n"
    assert shell(host, "sysctl -n net.ipv4.conf.eth0.rp_filter") == "1\n"


def test_after_a_crash_down_restores_an_interface_that_was_renamed_meanwhile(
    host: Namespace, tmp_path: Path
) -> None:
    shell(host, f"{BEFORE} net.ipv4.conf.eth1.rp_filter=1")
    service = HostService(host, tmp_path)
    service.start()
    service.process.kill()
    service.end()
    shell(host, "ip link set eth0 down; ip link del eth0")
    shell(host, "ip link set eth1 down; ip link set eth1 name eth0")
    done = service.command("down")
    assert done.returncode == 0, done.stderr
    assert "restored sysctl net/ipv4/conf/eth0/rp_filter = 1\n" in done.stdout
    assert shell(host, "sysctl -n net.ipv4.conf.eth0.rp_filter") == "1\n"


def test_an_uplink_that_gets_another_interface_in_a_reload_leaves_the_old_one_as_it_was(
    host: Namespace, tmp_path: Path
) -> None:
    shell(host, f"{BEFORE} net.ipv4.conf.eth1.rp_filter=1 net.ipv4.conf.eth3.rp_filter=1")
    before = snapshot(host)["sysctls"]
    with running(host, tmp_path) as service:
        service.config.write_text(CONFIG.replace("eth1", "eth3").replace("10.1.0.2", "10.3.0.2"))
        done = service.command("reload", "--runtime-dir", str(service.runtime_dir))
        assert done.returncode == 0, done.stderr
        values = "net.ipv4.conf.eth1.rp_filter net.ipv4.conf.eth3.rp_filter"
        assert shell(host, f"sysctl -n {values}") == "1\n2\n"
    assert snapshot(host)["sysctls"] == before
