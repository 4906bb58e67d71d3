"""What outlives a stop and a crash, and what a damaged state directory costs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from host_service import eventually
from host_snapshots import shell, snapshot

from classifier.engine import sticky_format
from classifier.state import asked, health, ids, seed, sticky, told

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}
STICKY = 'sticky = { by = "remote", timeout = "1h" }'
REMOTES = [f"198.18.20.{number}" for number in range(1, 201)]
HEALTH = """
[uplinks.wifi1.health]
probe = "icmp"
targets = ["198.18.0.1", "198.18.0.2"]
interval = "200ms"
timeout = "500ms"
down = 2
up = 5
window = 5
"""
STATE_FILES = [module.FILE_NAME for module in (asked, health, ids, seed, sticky, told)]


def uplinks_of_remotes(gateway: Lab) -> dict[str, str | None]:
    flows = [gateway.flows(1, "tcp", 8080, to=remote)[0] for remote in REMOTES]
    taken_by = gateway.connect(flows)
    return {flow.dst: taken_by[flow] for flow in flows}


def taken(gateway: Lab, count: int = 20) -> list[str | None]:
    return list(gateway.connect(gateway.flows(count, "tcp", 8080)).values())


def entries_in(file: Path) -> int:
    if not file.exists():
        return 0
    saved, _ = sticky_format.decode(file.read_bytes())
    return sum(balancer.entries for balancer in saved.balancers)


def explained(gateway: Lab, remote: str) -> dict[str, Any]:
    """What `explain` says by what the service has stored."""
    said = gateway.service.command(
        "explain",
        str(gateway.service.config),
        f"tcp 192.168.1.5:40000 > {remote}:443 in lan0",
        "--json",
        "--state-dir",
        str(gateway.service.state_dir),
    ).stdout
    answer: dict[str, Any] = json.loads(said)
    return answer


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_remembered_remotes_keep_their_uplink_and_the_turns_go_on(
    lab: StartLab, configuration: Configuration, end: str
) -> None:
    gateway = lab(configuration(WEIGHTS, balancer=STICKY))
    before = uplinks_of_remotes(gateway)
    (last,) = taken(gateway, 1)
    assert set(before.values()) == set(WEIGHTS)
    marks = {name: uplink["mark"] for name, uplink in gateway.status()["uplinks"].items()}
    copy = gateway.service.runtime_dir / sticky.FILE_NAME
    if end == "killed":
        eventually(lambda: entries_in(copy) == len(REMOTES) + 1, "the copy has all")
        gateway.service.kill()
    else:
        assert gateway.stop_service() == 0
        remote = REMOTES[7]
        said = explained(gateway, remote)
        assert (said["uplink"], said["reason"]) == (before[remote], "sticky")
        assert said["mark"] == marks[before[remote]]
        assert explained(gateway, "198.18.99.9")["uplink"] != last, "the turns are known, too"
    gateway.start_service()
    assert taken(gateway, 1) != [last], "it is the other's turn"
    assert uplinks_of_remotes(gateway) == before
    assert gateway.stop_service() == 0


def test_an_uplink_that_was_dead_at_a_crash_takes_no_flow_until_its_probes_are_answered(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, more=HEALTH))
    shell(gateway.isps["wifi1"], "iptables -w -t raw -I PREROUTING -j DROP")

    def state() -> str:
        return str(gateway.status()["uplinks"]["wifi1"]["state"])

    eventually(lambda: state() == "down", "it is down")
    gateway.service.kill()
    shell(gateway.isps["wifi1"], "iptables -w -t raw -D PREROUTING -j DROP")
    gateway.start_service()
    said = gateway.service.log.read_text()
    assert "ready: wired (eth0) up, wifi1 (eth1) down" in said
    eventually(lambda: state() == "up", "it is up")
    assert set(taken(gateway)) == set(WEIGHTS)
    gateway.service.kill()
    gateway.start_service()
    assert gateway.service.log.read_text().endswith("wifi1 (eth1) up; queue 0\n")


def test_what_was_dead_at_a_crash_has_its_reason_in_words(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, more=HEALTH.replace("200ms", "60s")), service=False)
    health.store_bad(gateway.service.state_dir, {"wifi1": frozenset({4}), "gone": frozenset({6})})
    gateway.start_service()
    uplink = gateway.status()["uplinks"]["wifi1"]
    assert (uplink["state"], uplink["reason"]) == ("down", "was down before the start")
    assert set(taken(gateway)) == {"wired"}


@pytest.mark.parametrize("name", STATE_FILES)
def test_random_bytes_in_a_state_file_are_told_and_kept_aside_and_it_works(
    lab: StartLab, configuration: Configuration, name: str
) -> None:
    gateway = lab(configuration(WEIGHTS, balancer=STICKY), service=False)
    file = gateway.service.state_dir / name
    file.parent.mkdir()
    content = os.urandom(1300)
    file.write_bytes(content)
    gateway.start_service()
    assert set(taken(gateway)) == set(WEIGHTS)
    assert gateway.stop_service() == 0
    assert f"{file}: " in gateway.service.log.read_text()
    assert Path(f"{file}.damaged").read_bytes() == content


def test_a_state_directory_that_cannot_be_written_to_keeps_no_stop_from_cleaning_up(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration({"wired": 1, "wifi1": 1}), service=False)
    before = snapshot(gateway.gateway)
    gateway.start_service()
    state_dir = gateway.service.state_dir
    shutil.rmtree(state_dir)
    state_dir.write_text("no directory any more")
    assert gateway.stop_service() == 0
    assert snapshot(gateway.gateway) == before
    assert str(state_dir) in gateway.service.log.read_text()
