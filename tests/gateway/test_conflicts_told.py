"""`plan` names every conflict that `run` refuses to start with, in the same words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from host_service import WITH_IPV6, HostService
from host_snapshots import make_host, shell, snapshot

from classifier.lab.namespace import Namespace

# One of each kind: rules, routes, marks that are set, marks that are cleared where that hurts,
# queues of either variant and family, and what nft has made.
OTHERS = """
ip rule add pref 20802 from 192.0.2.1 lookup 9
ip rule add pref 99 fwmark 0x1234 lookup 9
ip route add 192.0.2.0/24 via 10.0.0.2 table 20801
iptables-nft -t mangle -A FORWARD -p tcp -j MARK --set-mark 0x100
iptables-nft -t mangle -A POSTROUTING -j MARK --set-mark 0x1
iptables-legacy -t mangle -A INPUT -j CONNMARK --set-mark 0x1
iptables-nft -A INPUT -p udp -m comment --comment "$(printf 'caf\\xe9')" -j NFQUEUE --queue-num 0
ip6tables-legacy -A FORWARD -j NFQUEUE --queue-balance 0:3 --queue-bypass
nft 'add table inet t; add chain inet t c; add rule inet t c meta mark set 0x101'
iptables-nft -t nat -A INPUT; nft add rule ip nat INPUT meta mark set tcp dport map {9 : 0x500}
"""
KINDS = len(OTHERS.split("\n")) - 2


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


def test_plan_names_all_that_run_refuses_to_start_with(host: Namespace, tmp_path: Path) -> None:
    shell(host, OTHERS)
    before = snapshot(host)
    service = HostService(host, tmp_path, WITH_IPV6)
    said = service.refused().replace("nfq-classifier: ", "").splitlines()
    assert len(said) == KINDS, said
    planned = service.command("plan", str(service.config), "--state-dir", str(service.state_dir))
    lines = planned.stdout.splitlines()
    assert lines[: KINDS + 1] == ["# run refuses to start:", *(f"#   {line}" for line in said)]
    assert snapshot(host) == before
