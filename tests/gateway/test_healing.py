"""What other programs change of ours is noticed and put right, told once, and counted."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from host_service import eventually
from host_snapshots import shell, snapshot

from classifier.lab.limits import scaled
from classifier.service.heal_limit import HEALS

if TYPE_CHECKING:
    from conftest import Configuration, StartLab, UseIptables

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 2}
TOLD = "changed by another program and put right: "

FIREWALL = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
-A FORWARD -p tcp -m tcp --dport 9 -j DROP
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i lo -j ACCEPT
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
COMMIT
"""
RELOAD = f"iptables-restore <<END\n{FIREWALL}END"

# What belongs to one service: of one subject three at most, as a fourth would be a fight.
DISTURBANCES = {
    "hooks and routes": [
        ("iptables -t mangle -F PREROUTING", "firewall rules"),
        ("while ip rule del pref 20802 2>/dev/null; do :; done", "routing rules"),
        ("iptables -t nat -F", "firewall rules"),
        ("ip route flush table 20802", "routes"),
    ],
    "chains and rules": [
        ("iptables -t mangle -F nfqc-queue", "firewall rules"),
        ("ip rule flush protocol 78", "routing rules"),
        ("iptables -t mangle -D nfqc-save 1", "firewall rules"),
        ("ip route replace default dev lan0 table 20802 proto 78", "routes"),
    ],
    "tables and sysctls": [
        ("iptables -t mangle -F", "firewall rules"),
        ("sysctl -qw net.ipv4.ip_forward=0", "sysctls"),
        ("nft flush ruleset", "firewall rules"),
    ],
    "firewall reloaded": [(RELOAD, "firewall rules")],
}
# These cause no event.
LEGACY_DISTURBANCES = [
    ("iptables-legacy -t mangle -F PREROUTING", "firewall rules"),
    ("iptables-legacy -t nat -F", "firewall rules"),
]


def state_of(gateway: Lab) -> dict[str, list[str]]:
    """Everything of the host but what counts by itself."""
    return snapshot(gateway.gateway)


def disturb_and_wait(gateway: Lab, command: str) -> float:
    """Seconds until the service has counted that it put something right."""
    healed = gateway.status()["healed"]
    shell(gateway.gateway, command)
    begun = time.monotonic()
    eventually(lambda: gateway.status()["healed"] > healed, f"put right after: {command}")
    return time.monotonic() - begun


def check_balanced(gateway: Lab) -> None:
    """Thirty new flows all arrive, by weight, and come back."""
    taken = Counter(gateway.connect(gateway.flows(30, "tcp", 8080)).values())
    assert taken == {"wired": 10, "wifi1": 20}, gateway.status()


def check(gateway: Lab, disturbances: list[tuple[str, str]]) -> None:
    """Each command and the subject of ours that it disturbs."""
    if (RELOAD, "firewall rules") in disturbances:
        shell(gateway.gateway, RELOAD)  # so that only what is ours differs afterwards
    gateway.start_service()
    check_balanced(gateway)
    before = state_of(gateway)
    for command, subject in disturbances:
        disturb_and_wait(gateway, command)
        eventually(lambda: state_of(gateway) == before, f"the host as before {command}")
        check_balanced(gateway)
        told = [line for line in gateway.service.log.read_text().splitlines() if TOLD in line]
        assert subject in told[-1]
    status = gateway.status()
    assert status["queue"]["dropped"] == 0
    assert status["direct"]["flows"] == 0
    # In an emulator a look may come in the midst of what a command does.
    assert len(told) == status["healed"]
    assert len(disturbances) <= len(told) <= scaled(len(disturbances)), told
    assert gateway.stop_service() == 0


@pytest.mark.parametrize("name", DISTURBANCES)
def test_what_somebody_flushes_is_back_at_once_and_flows_are_balanced_again(
    lab: StartLab, configuration: Configuration, name: str
) -> None:
    check(lab(configuration(WEIGHTS), service=False), DISTURBANCES[name])


def test_the_legacy_variant_is_looked_at_every_few_seconds(
    lab: StartLab, configuration: Configuration, use_iptables: UseIptables
) -> None:
    use_iptables("legacy")
    check(lab(configuration(WEIGHTS), service=False), LEGACY_DISTURBANCES)


def test_a_flush_in_the_middle_of_established_flows_loses_none_of_them(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    connections = [gateway.open(flow) for flow in gateway.flows(6, "tcp", 8080)]
    disturb_and_wait(gateway, "nft flush ruleset; ip rule flush protocol 78")
    for connection in connections:
        assert connection.echo() == b"still there?"
        connection.close()
    assert gateway.stop_service() == 0


def test_where_another_program_keeps_at_it_the_service_gives_in_and_says_so(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    fight = "another program keeps changing our firewall rules: put right less often"

    def is_told_after_one_more() -> bool:
        shell(gateway.gateway, "iptables -t mangle -F PREROUTING")
        return fight in gateway.service.log.read_text()

    eventually(is_told_after_one_more, "the fight is told")
    assert gateway.service.log.read_text().split(fight)[0].count(TOLD) == HEALS
    # Other subjects are put right all the same.
    disturb_and_wait(gateway, "ip rule flush protocol 78")
    assert gateway.service.log.read_text().count(fight) == 1
    assert any("another program keeps changing" in said for said in gateway.status()["warnings"])
    assert gateway.stop_service() == 0


def test_after_a_stop_the_host_is_as_it_was_found_also_if_all_memory_was_flushed(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    shell(gateway.gateway, "sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=1")
    before = snapshot(gateway.gateway)["sysctls"]
    gateway.start_service()
    # At once, so that there is no time to put the memory back.
    shell(gateway.gateway, "nft flush ruleset")
    assert gateway.stop_service() == 0
    assert snapshot(gateway.gateway)["sysctls"] == before
