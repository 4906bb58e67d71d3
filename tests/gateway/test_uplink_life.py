"""Uplinks of a running gateway: black holes, standbys, drained and forced by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from host_service import eventually
from host_snapshots import shell

from classifier.lab.topology import ISP_INTERFACE

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}
HEALTH = """
[uplinks.{name}.health]
probe = "{probe}"
targets = {targets}
interval = "200ms"
timeout = "500ms"
down = 2
up = 3
window = 5
"""
TARGETS = {
    "icmp": '["198.18.0.1", "198.18.0.2"]',
    "tcp": '"198.18.0.1:8080"',
}


def probed(name: str, probe: str = "icmp") -> str:
    return HEALTH.format(name=name, probe=probe, targets=TARGETS[probe])


def black_hole(gateway: Lab, uplink: str, on: bool) -> None:
    """Whether the ISP drops what comes from the gateway; the link keeps its carrier."""
    change = "-I" if on else "-D"
    shell(gateway.isps[uplink], f"iptables -w -t raw {change} PREROUTING -j DROP")


def wait_for(gateway: Lab, uplink: str, state: str) -> str:
    """The reason, once the uplink is in that state."""

    def there() -> bool:
        return str(gateway.status()["uplinks"][uplink]["state"]) == state

    eventually(there, f"{uplink} is {state}")
    return str(gateway.status()["uplinks"][uplink]["reason"])


def taken(gateway: Lab, count: int = 20) -> list[str | None]:
    return list(gateway.connect(gateway.flows(count, "tcp", 8080)).values())


def steer(gateway: Lab, name: str, state: str, *options: str) -> str:
    where = ("--runtime-dir", str(gateway.service.runtime_dir))
    return gateway.service.command("uplink", name, state, *options, *where).stdout


def connections_of(gateway: Lab, uplink: str) -> int:
    """TCP connections that the kernel keeps on an uplink; its probes are none."""
    mark = gateway.status()["uplinks"][uplink]["mark"]
    return sum(
        entry.mark & 0x3F00 == mark and entry.protocol == 6 for entry in gateway.connections()
    )


@pytest.mark.parametrize("probe", TARGETS)
def test_a_black_hole_is_seen_and_left_and_taken_again_when_it_ends(
    lab: StartLab, configuration: Configuration, probe: str
) -> None:
    gateway = lab(configuration(WEIGHTS, more=probed("wifi1", probe)), service=False)
    gateway.serve(6, 8080)
    gateway.start_service()
    assert set(taken(gateway)) == set(WEIGHTS)
    black_hole(gateway, "wifi1", True)
    assert "silent since" in wait_for(gateway, "wifi1", "down")
    assert set(taken(gateway)) == {"wired"}
    black_hole(gateway, "wifi1", False)
    wait_for(gateway, "wifi1", "up")
    assert taken(gateway).count("wifi1") == 10
    status = gateway.status()["uplinks"]["wifi1"]
    assert status["latency"] < 0.5
    assert status["bytes_in"] > 0
    assert gateway.status()["uplinks"]["wired"]["reason"] == "not probed"


def test_a_standby_takes_flows_only_while_those_before_it_are_down(
    lab: StartLab, configuration: Configuration
) -> None:
    text = configuration({"wired": 1, "wifi1": 1, "wifi2": 1}).replace(
        "[uplinks.wifi2]", "[uplinks.wifi2]\ntier = 2"
    )
    gateway = lab(text)
    assert set(taken(gateway)) == {"wired", "wifi1"}
    assert "wired is down: taken down by hand" in steer(gateway, "wired", "down")
    assert set(taken(gateway)) == {"wifi1"}
    steer(gateway, "wifi1", "down")
    assert set(taken(gateway)) == {"wifi2"}
    with gateway.open(gateway.flows(1, "tcp", 8080)[0]) as connection:
        steer(gateway, "wired", "auto")
        assert set(taken(gateway)) == {"wired"}
        assert connection.uplink == "wifi2"
        assert connection.echo() == b"still there?", "failback keeps what others took"


def test_a_drained_uplink_keeps_its_connections_and_stays_drained_over_restart_and_reload(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS), "--keep")
    connections = [gateway.open(flow) for flow in gateway.flows(2, "tcp", 8080)]
    try:
        assert "wifi1 is draining: drained by hand" in steer(gateway, "wifi1", "drain")
        assert set(taken(gateway)) == {"wired"}
        assert gateway.stop_service() == 0
        gateway.start_service()
        assert gateway.status()["uplinks"]["wifi1"]["state"] == "draining"
        where = ("--runtime-dir", str(gateway.service.runtime_dir))
        gateway.service.command("reload", *where)
        assert set(taken(gateway)) == {"wired"}
        assert [connection.echo() for connection in connections] == [b"still there?"] * 2
        steer(gateway, "wifi1", "auto")
        assert set(taken(gateway)) == set(WEIGHTS)
        steer(gateway, "wired", "down", "--until-restart")
        assert gateway.stop_service() == 0
        gateway.start_service()
        assert gateway.status()["uplinks"]["wired"]["state"] == "up"
    finally:
        for connection in connections:
            connection.close()


def test_new_flows_avoid_an_uplink_that_lost_its_carrier(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    shell(gateway.isps["wifi1"], f"ip link set {ISP_INTERFACE} down")
    assert wait_for(gateway, "wifi1", "down") == "no carrier"
    assert set(taken(gateway)) == {"wired"}


@pytest.mark.parametrize(
    ("words", "said"),
    [(("nothing", "down"), "the policy has no such uplink"), (("wired", "sideways"), "STATE")],
)
def test_what_cannot_be_steered_is_told(
    lab: StartLab, configuration: Configuration, words: tuple[str, str], said: str
) -> None:
    gateway = lab(configuration(WEIGHTS))
    where = ("--runtime-dir", str(gateway.service.runtime_dir))
    done = gateway.service.command("uplink", *words, *where, check=False)
    assert done.returncode == 2
    assert said in done.stderr


STICKY = 'sticky = { by = "remote", timeout = "1h" }'
REMOTES = [f"198.18.20.{number}" for number in range(1, 101)]


def uplinks_of_remotes(gateway: Lab) -> dict[str, str | None]:
    flows = [gateway.flows(1, "tcp", 8080, to=remote)[0] for remote in REMOTES]
    taken_by = gateway.connect(flows)
    return {flow.dst: taken_by[flow] for flow in flows}


def test_an_entry_is_shown_and_forgotten_by_hand(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, balancer=STICKY))
    uplinks_of_remotes(gateway)
    where = ("--runtime-dir", str(gateway.service.runtime_dir))

    def sticky(*words: str) -> str:
        return gateway.service.command("sticky", *words, *where).stdout

    shown = sticky("show", REMOTES[0])
    assert shown.splitlines()[1].split()[:3] in [["all", "remote", name] for name in WEIGHTS]
    assert sticky("forget", REMOTES[0]) == "forgotten: 1\n"
    assert sticky("show", REMOTES[0]) == "nothing is remembered\n"
    assert sticky("forget", "--uplink", "wired") in ("forgotten: 49\n", "forgotten: 50\n")
    sticky("forget", "--all")
    assert gateway.status()["sticky"]["entries"] == 0
