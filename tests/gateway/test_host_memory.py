"""What is remembered of the host before us holds for this boot, and is believed only then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from host_service import HostService
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
