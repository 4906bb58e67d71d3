"""What a start refuses, and that a refused start changes nothing."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from host_snapshots import snapshot

from classifier.errors import LabError

if TYPE_CHECKING:
    from conftest import Configuration, StartLab, UseIptables

    from classifier.host.iptables.programs import Variant

WEIGHTS = {"wired": 1, "wifi1": 1}


def test_a_second_service_on_the_same_queue_is_refused_naming_the_first(
    lab: StartLab, configuration: Configuration, tmp_path: Path
) -> None:
    gateway = lab(configuration(WEIGHTS))
    before = snapshot(gateway.gateway)
    options = ["--runtime-dir", str(tmp_path / "r2"), "--state-dir", str(tmp_path / "s2")]
    done = gateway.service.command("run", str(gateway.service.config), *options, check=False)
    assert done.returncode == 1
    assert f"process {gateway.service.process.pid}" in done.stderr
    assert snapshot(gateway.gateway) == before
    assert set(gateway.connect(gateway.flows(10, "tcp", 8080)).values()) == set(WEIGHTS)


def test_a_rule_of_somebody_else_at_our_priority_is_named(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    gateway.gateway.run(["ip", "rule", "add", "pref", "20801", "lookup", "77"])
    gateway.gateway.run(["ip", "rule", "add", "pref", "900", "fwmark", "0x100", "lookup", "78"])
    before = snapshot(gateway.gateway)
    with pytest.raises(LabError, match=r"(?s)20801.*77|900.*78") as refused:
        gateway.start_service()
    assert "lookup 77" in str(refused.value)
    assert "lookup 78" in str(refused.value)
    assert snapshot(gateway.gateway) == before


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_the_service_works_with_either_variant_of_iptables(
    lab: StartLab,
    configuration: Configuration,
    use_iptables: UseIptables,
    variant: Variant,
) -> None:
    use_iptables(variant)
    gateway = lab(configuration(WEIGHTS, gateway='helpers = ["ftp"]'))
    with gateway.gateway.enter():
        used = gateway.gateway.run([f"iptables-{variant}-save"]).stdout
    assert "nfqc-queue" in used
    taken = gateway.connect(gateway.flows(20, "tcp", 8080))
    assert sorted(map(str, taken.values())) == ["wifi1"] * 10 + ["wired"] * 10
    assert gateway.stop_service() == 0
    assert "nfqc" not in gateway.gateway.run([f"iptables-{variant}-save"]).stdout


def test_flows_from_before_the_start_stay_where_they_are(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    gateway.gateway.sysctl("net.ipv4.ip_forward", 1)
    nat = ["-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE"]
    gateway.gateway.run(["iptables", "-w", *nat])
    questions = gateway.flows(20, "udp", 5353)
    assert set(gateway.ask(questions).values()) == {"wired"}
    with ExitStack() as stack:
        old = [stack.enter_context(gateway.open(f)) for f in gateway.flows(10, "tcp", 8080)]
        gateway.tap.clear()
        gateway.start_service()
        assert all(connection.echo() == b"still there?" for connection in old)
        assert set(gateway.ask(questions).values()) == {"wired"}
        assert gateway.tap.packets()["wifi1"] == 0
        assert gateway.status()["queue"]["packets"] == 0
        assert set(gateway.connect(gateway.flows(10, "tcp", 8080)).values()) == set(WEIGHTS)


def test_an_uplink_without_a_route_takes_no_flows_and_is_told(
    lab: StartLab, configuration: Configuration
) -> None:
    text = configuration(WEIGHTS).replace('gateway = "192.0.3.1"', 'gateway = "auto"')
    gateway = lab(text, service=False)
    gateway.gateway.run(["ip", "route", "del", "default", "dev", "eth1"])
    gateway.start_service()
    assert gateway.status()["uplinks"]["wifi1"]["state"] == "down"
    assert set(gateway.connect(gateway.flows(10, "tcp", 8080)).values()) == {"wired"}
    assert "wifi1" in gateway.service.log.read_text()
