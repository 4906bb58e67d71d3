"""Uplinks that go and come back are followed; their established flows never move to another."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from host_service import eventually

from classifier.lab.topology import ISP_INTERFACE

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.flows import FiveTuple
    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}


def wait_for_state(gateway: Lab, uplink: str, state: str) -> None:
    def has_it() -> bool:
        return str(gateway.status()["uplinks"][uplink]["state"]) == state

    eventually(has_it, f"{uplink} is {state}")


@pytest.mark.parametrize("sender", ["lan", "gateway"])
@pytest.mark.parametrize("change", ["down", "netns /proc/self/fd/{}"], ids=["down", "vanished"])
def test_new_flows_avoid_an_uplink_that_is_gone(
    lab: StartLab, configuration: Configuration, change: str, sender: str
) -> None:
    gateway = lab(configuration(WEIGHTS))
    source = None if sender == "gateway" else "lan"
    gateway.connect(gateway.flows(2, "tcp", 8080, source=source), sender=sender)
    # Moved to another namespace, it is deleted here; its other end, which the tap reads, is not.
    elsewhere = gateway.lan.fileno()
    command = ["ip", "link", "set", "eth1", *change.format(elsewhere).split()]
    gateway.gateway.run(command, pass_fds=[elsewhere])
    wait_for_state(gateway, "wifi1", "down")
    flows = gateway.flows(20, "tcp", 8080, source=source)
    taken = gateway.connect(flows, sender=sender)
    assert set(taken.values()) == {"wired"}
    assert gateway.stop_service() == 0


def test_established_flows_of_an_uplink_that_is_down_do_not_move_and_go_on_when_it_is_back(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, uplink='flush = "never"'))
    with ExitStack() as undo:
        connections = [
            undo.enter_context(gateway.open(flow)) for flow in gateway.flows(4, "tcp", 8080)
        ]
        others = [connection for connection in connections if connection.uplink == "wifi1"]
        assert len(others) == 2
        gateway.gateway.run(["ip", "link", "set", "eth1", "down"])
        wait_for_state(gateway, "wifi1", "down")
        for connection in connections:
            if connection.uplink == "wired":
                assert connection.echo() == b"still there?"
        gateway.gateway.run(["ip", "link", "set", "eth1", "up"])
        wait_for_state(gateway, "wifi1", "up")
        assert all(connection.echo() == b"still there?" for connection in others)
        assert gateway.tap.split_flows() == []


def test_an_uplink_that_came_back_takes_its_share_without_a_restart(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    gateway.gateway.run(["ip", "link", "set", "eth1", "down"])
    wait_for_state(gateway, "wifi1", "down")
    gateway.gateway.run(["ip", "link", "set", "eth1", "up"])
    wait_for_state(gateway, "wifi1", "up")
    taken = list(gateway.connect(gateway.flows(10, "tcp", 8080)).values())
    assert (taken.count("wired"), taken.count("wifi1")) == (5, 5)


def test_after_main_s_default_moved_own_flows_are_balanced_again(
    lab: StartLab, configuration: Configuration
) -> None:
    """They leave by the new default until the change is followed, and are balanced from then on."""
    gateway = lab(configuration(WEIGHTS))
    gateway.gateway.run(["ip", "route", "replace", "default", "via", "192.0.3.1"])

    def own() -> dict[FiveTuple, str | None]:
        flows = gateway.flows(10, "tcp", 8080, source=None)
        return gateway.connect(flows, sender="gateway")

    assert None not in own().values()
    eventually(lambda: set(own().values()) == set(WEIGHTS), "own flows are balanced")
    assert set(gateway.connect(gateway.flows(10, "tcp", 8080)).values()) == set(WEIGHTS)


def test_after_an_uplink_s_address_changed_flows_leave_with_the_new_one(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    wifi = gateway.addresses.uplink("wifi1")
    new = wifi.own + 70
    gateway.isps["wifi1"].run(["ip", "route", "add", str(new), "dev", ISP_INTERFACE])
    gateway.gateway.run(["ip", "addr", "add", f"{new}/24", "dev", "eth1"])
    gateway.gateway.run(["ip", "addr", "del", f"{wifi.own}/{wifi.prefix}", "dev", "eth1"])
    gateway.tap.clear()
    assert set(gateway.connect(gateway.flows(10, "tcp", 8080)).values()) == set(WEIGHTS)
    sources = {seen.src for seen, names in gateway.tap.flows().items() if "wifi1" in names}
    assert sources == {str(new)}
