"""Uplinks are taken as up while the service runs; one that is not must not hand its flows over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from classifier.lab.topology import ISP_INTERFACE

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

WEIGHTS = {"wired": 1, "wifi1": 1}


@pytest.mark.parametrize("sender", ["lan", "gateway"])
@pytest.mark.parametrize("change", ["down", "netns /proc/self/fd/{}"], ids=["down", "vanished"])
def test_flows_of_an_uplink_that_is_gone_are_unreachable_and_leak_nowhere(
    lab: StartLab, configuration: Configuration, change: str, sender: str
) -> None:
    gateway = lab(configuration(WEIGHTS))
    source = None if sender == "gateway" else "lan"
    gateway.connect(gateway.flows(2, "tcp", 8080, source=source), sender=sender)
    # Moved to another namespace, it is deleted here; its other end, which the tap reads, is not.
    elsewhere = gateway.lan.fileno()
    command = ["ip", "link", "set", "eth1", *change.format(elsewhere).split()]
    gateway.gateway.run(command, pass_fds=[elsewhere])
    gateway.tap.clear()
    flows = gateway.flows(20, "tcp", 8080, source=source)
    taken = gateway.connect(flows, sender=sender, timeout=1.0)
    assert list(taken.values()).count("wired") == 10
    assert list(taken.values()).count(None) == 10
    lost = {flow.dst for flow, uplink in taken.items() if uplink is None}
    assert [seen for seen in gateway.tap.flows() if seen.dst in lost] == [], "these have leaked"
    assert gateway.status()["uplinks"]["wifi1"]["flows"] >= 10
    assert gateway.stop_service() == 0


def test_established_flows_of_an_uplink_that_is_gone_do_not_move_to_another(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    connections = [gateway.open(flow) for flow in gateway.flows(4, "tcp", 8080)]
    gateway.gateway.run(["ip", "route", "flush", "table", "20802"])
    gateway.tap.clear()
    for connection in connections:
        if connection.uplink == "wired":
            assert connection.echo() == b"still there?"
    others = [connection for connection in connections if connection.uplink == "wifi1"]
    assert len(others) == 2
    gateway.gateway.run(
        ["ip", "route", "add", "default", "via", "192.0.3.1", "dev", "eth1", "table", "20802"]
    )
    assert all(connection.echo() == b"still there?" for connection in others)
    for connection in connections:
        connection.close()


def test_the_next_start_takes_an_uplink_that_came_back(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    gateway.gateway.run(["ip", "link", "set", "eth1", "down"])
    gateway.gateway.run(["ip", "link", "set", "eth1", "up"])
    routes = gateway.gateway.run(["ip", "route", "show", "table", "all"]).stdout
    assert "table 20802" not in routes, "the documentation says that this is not followed"
    gateway.stop_service()
    gateway.start_service()
    assert set(gateway.connect(gateway.flows(10, "tcp", 8080)).values()) == set(WEIGHTS)


def test_after_main_s_default_moved_own_flows_leave_by_the_new_one(
    lab: StartLab, configuration: Configuration
) -> None:
    """They are not classified until the next start, but they are answered."""
    gateway = lab(configuration(WEIGHTS))
    gateway.gateway.run(["ip", "route", "flush", "exact", "0.0.0.0/0"])
    gateway.gateway.run(["ip", "route", "add", "default", "via", "192.0.3.1"])
    own = gateway.connect(gateway.flows(10, "tcp", 8080, source=None), sender="gateway")
    assert set(own.values()) == {"wifi1"}
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
