"""`down` leaves the host as it was found, to the byte, whoever left what is taken away."""

from __future__ import annotations

import dataclasses
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_snapshots import (
    LTE,
    VARIANTS,
    WIFI,
    WIRED,
    add_foreign,
    apply_in,
    make_host,
    policy,
    remove_in,
    shell,
    snapshot,
)

from classifier.host.iptables.programs import Variant
from classifier.host.iptables.ruleset import QUEUE_CHAIN
from classifier.lab.namespace import Namespace

pytestmark = pytest.mark.gateway

CONFIGURATION = """
[gateway]
lan = ["eth2"]
helpers = ["ftp"]
[uplinks.wired]
interface = "eth0"
gateway = "10.0.0.2"
gateway6 = "auto"
[uplinks.wifi]
interface = "eth1"
gateway = "auto"
"""

# Applies in a process of its own and then dies with no chance to clean up.
_CRASH = """
import os, signal, sys
from classifier.config import load_policy
from classifier.host import reading, steps
from classifier.host.diff import diff
from classifier.host.plan import plan
there = reading.read(sys.argv[2])
steps.run(diff(there, plan(load_policy(sys.argv[1]), there)))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIGURATION)
    return path


def with_legacy_tables(host: Namespace, variant: Variant) -> None:
    """The kernel keeps a legacy table until its namespace ends, so the tables are there before."""
    if variant == "legacy":
        for program in ("iptables-legacy", "ip6tables-legacy"):
            shell(host, f"for t in raw mangle nat; do {program} -t $t -L >/dev/null; done")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("foreign", [False, True])
def test_everything_is_as_it_was_found(host: Namespace, variant: Variant, foreign: bool) -> None:
    if foreign:
        add_foreign(host, variant)
    with_legacy_tables(host, variant)
    before = snapshot(host)
    apply_in(host, policy(WIRED, WIFI, LTE), variant)
    assert all(snapshot(host)[command] != before[command] for command in ("sysctls", "ip rule"))
    assert remove_in(host)
    assert snapshot(host) == before


def not_local(lines: list[str]) -> list[str]:
    """Without the kernel's own routes, among which are some of interfaces that forward."""
    return [line for line in lines if "table local" not in line]


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_others_bring_while_we_run_stays(host: Namespace, variant: Variant) -> None:
    with_legacy_tables(host, variant)
    apply_in(host, policy(WIRED, WIFI), variant)
    add_foreign(host, variant)
    remove_in(host)
    after = snapshot(host)
    with make_host("never-ours") as other:
        with_legacy_tables(other, variant)
        add_foreign(other, variant)
        expected = snapshot(other)
    for command in expected.keys() - {"nft list ruleset", "sysctls"}:
        assert not_local(after[command]) == not_local(expected[command]), command
    # The same, whatever the order in which tables and chains came into being.
    assert sorted(after["nft list ruleset"]) == sorted(expected["nft list ruleset"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_leftovers_of_a_crash_are_recognised_by_a_process_that_knows_nothing(
    host: Namespace, variant: Variant, configuration: Path, tmp_path: Path
) -> None:
    add_foreign(host, variant)
    with_legacy_tables(host, variant)
    before = snapshot(host)
    crash = [sys.executable, "-c", _CRASH, str(configuration), variant]
    assert host.run(crash, check=False).returncode == -signal.SIGKILL
    assert snapshot(host) != before
    command = [sys.executable, "-m", "classifier", "down", str(configuration)]
    told = host.run([*command, "--runtime-dir", str(tmp_path), "--state-dir", str(tmp_path)])
    assert "restored sysctl net/ipv4/ip_forward = 0" in told.stdout
    assert snapshot(host) == before
    assert host.run(command).stdout == "nothing of ours was here\n"


def test_a_takeover_keeps_what_was_found_at_first(host: Namespace) -> None:
    shell(host, "sysctl -qw net.ipv4.conf.all.rp_filter=1")
    before = snapshot(host)
    for made in (policy(WIRED), policy(WIRED, WIFI), policy(WIRED, WIFI, LTE, helpers=())):
        apply_in(host, made, "nft")
    remove_in(host)
    assert snapshot(host) == before


def test_leftovers_of_both_variants_are_removed(host: Namespace) -> None:
    with_legacy_tables(host, "legacy")
    before = snapshot(host)
    apply_in(host, policy(WIRED, WIFI), "legacy")
    apply_in(host, policy(WIRED, WIFI), "nft")
    remove_in(host)
    assert snapshot(host) == before


def test_a_sysctl_that_somebody_else_has_set_meanwhile_stays_so(host: Namespace) -> None:
    shell(host, "sysctl -qw net.ipv4.conf.all.rp_filter=1")
    apply_in(host, policy(WIRED, WIFI), "nft")
    shell(host, "sysctl -qw net.ipv4.conf.eth0.rp_filter=0")
    remove_in(host)
    keys = "net.ipv4.conf.eth0.rp_filter net.ipv4.conf.eth0.src_valid_mark net.ipv4.ip_forward"
    assert shell(host, f"sysctl -n {keys}").split() == ["0", "0", "0"]


def test_forwarding_of_single_interfaces_is_restored_too(host: Namespace) -> None:
    shell(
        host,
        "sysctl -qw net.ipv4.conf.eth3.forwarding=1 net.ipv6.conf.default.forwarding=1"
        " net.ipv4.conf.all.accept_redirects=0",
    )
    before = snapshot(host)["sysctls"]
    apply_in(host, policy(WIRED), "nft")
    remove_in(host)
    assert snapshot(host)["sysctls"] == before


def test_an_interface_with_a_strange_name_is_remembered(host: Namespace) -> None:
    strange = "a\"b\\c'd.1"
    # Before Linux 6.2 an interface that is up cannot be renamed.
    shell(host, "ip link set eth1 down; ip link set eth1 name uplink.7")
    host.run(["ip", "link", "add", strange, "type", "veth", "peer", "name", "other"])
    shell(host, "ip link set uplink.7 up")
    with host.enter():
        Path(f"/proc/sys/net/ipv4/conf/{strange}/forwarding").write_text("1")
    before = snapshot(host)
    apply_in(host, policy(WIRED, dataclasses.replace(WIFI, interface="uplink.7")), "nft")
    remove_in(host)
    assert snapshot(host) == before


def test_a_memory_that_is_not_in_our_words_moves_nothing(host: Namespace) -> None:
    """Files are written and tables deleted by it, so it is believed only what we may have said."""
    before = snapshot(host)
    apply_in(host, policy(WIRED, WIFI), "nft")
    shell(host, "nft add table ip precious; iptables -t filter -N precious")
    for words in (
        "sysctl kernel/panic=1",
        "sysctl net/ipv4/conf/../../../kernel/rp_filter=1",
        "sysctl net/ipv4/conf/eth0/rp_filter=x",
        "sysctl net/ipv4/conf/eth0/log_martians=1",
        "created ip precious",
        "created ip filter FORWARD",
        "created",
        "nonsense",
    ):
        shell(host, f"iptables -t mangle -A nfqc-memory -m comment --comment '{words}'")
    remove_in(host)
    shell(host, "nft delete table ip precious; iptables -t filter -X precious")
    shell(host, "nft delete table ip filter")
    assert snapshot(host) == before


def test_nothing_is_queued_any_more_when_waiting_packets_are_answered(host: Namespace) -> None:
    apply_in(host, policy(WIRED, WIFI), "nft")
    seen: list[list[str]] = []

    def drain() -> None:
        rules = snapshot(host)["iptables-nft-save"] + snapshot(host)["ip6tables-nft-save"]
        seen.append([line for line in rules if "nfqc-" in line])

    remove_in(host, drain)
    [left] = seen
    assert not [line for line in left if "NFQUEUE" in line]
    # What answered packets still need is there: their mark is saved, and they are routed by it.
    assert "-A POSTROUTING -j nfqc-save" in left
    assert f"-A nfqc-prerouting -i eth2 -j {QUEUE_CHAIN}" in left


def test_where_nothing_of_ours_is_nothing_is_done(host: Namespace) -> None:
    add_foreign(host, "nft")
    before = snapshot(host)

    def drain() -> None:
        raise AssertionError("there is nothing to wait for")

    assert remove_in(host, drain) == []
    assert snapshot(host) == before


def test_plan_changes_nothing_and_prints_what_apply_makes(
    host: Namespace, configuration: Path, tmp_path: Path
) -> None:
    before = snapshot(host)
    command = [sys.executable, "-m", "classifier", "plan", str(configuration)]
    text = host.run([*command, "--state-dir", str(tmp_path / "state")]).stdout
    assert "ip -4 route add default via 10.0.0.2 dev eth0 table 20801 proto 78\n" in text
    assert "#   uplink wifi: no IPv4 default route by eth1" in text
    assert snapshot(host) == before
    assert not (tmp_path / "state").exists()
