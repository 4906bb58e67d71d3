"""A service that is killed, started again, stopped: flows go on, and the host is as it was."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from host_snapshots import shell, snapshot

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab
    from classifier.lab.traffic import Connection

WEIGHTS = {"wired": 1, "wifi1": 1}
FOREIGN = """
iptables -t mangle -N theirs
iptables -t mangle -A theirs -p tcp --dport 9 -j MARK --set-xmark 0x10000/0x10000
iptables -t mangle -A PREROUTING -j theirs
iptables -A FORWARD -p udp --dport 9 -j ACCEPT
ip rule add pref 30000 from 203.0.113.0/24 lookup 300
ip route add 203.0.113.0/24 dev lan0 table 300
sysctl -qw net.ipv4.conf.eth1.rp_filter=1
"""


def open_connections(gateway: Lab, count: int) -> list[Connection]:
    return [gateway.open(flow) for flow in gateway.flows(count, "tcp", 8080)]


def places(connections: list[Connection]) -> list[str | None]:
    return [connection.place for connection in connections]


def close(connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()


def test_killed_under_traffic_flows_go_on_and_a_new_start_takes_over(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    shell(gateway.gateway, FOREIGN)
    before = snapshot(gateway.gateway)
    gateway.start_service()
    running = open_connections(gateway, 10)
    assert sorted(map(str, places(running))) == ["wifi1"] * 5 + ["wired"] * 5

    ended = threading.Event()

    def traffic() -> None:
        while not ended.is_set():
            gateway.send(gateway.flows(20, "udp", 5000), packets=3)

    sender = threading.Thread(target=traffic)
    sender.start()
    try:
        gateway.service.kill()
        assert all(connection.say() == b"still there?" for connection in running)
        orphans = gateway.connect(gateway.flows(20, "tcp", 8080))
        assert set(orphans.values()) == {"wired"}, "new flows pass as direct"
        gateway.start_service()
        assert all(connection.say() == b"still there?" for connection in running)
    finally:
        ended.set()
        sender.join()
    taken = gateway.connect(gateway.flows(20, "tcp", 8080))
    assert set(taken.values()) == set(WEIGHTS), "the new start does not classify"
    close(running)

    assert gateway.stop_service() == 0
    assert snapshot(gateway.gateway) == before


def test_down_removes_what_a_killed_service_left_to_the_byte(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, gateway='helpers = ["ftp"]'), service=False)
    shell(gateway.gateway, FOREIGN)
    before = snapshot(gateway.gateway)
    gateway.start_service()
    gateway.connect(gateway.flows(20, "tcp", 8080))
    gateway.service.kill()
    assert snapshot(gateway.gateway) != before
    gateway.service.command("down", str(gateway.service.config))
    assert snapshot(gateway.gateway) == before
    gateway.service.command("down", str(gateway.service.config))  # again: nothing to do, no error
    assert snapshot(gateway.gateway) == before


def test_a_stop_that_keeps_the_state_leaves_established_flows_alone(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS), "--keep")
    running = open_connections(gateway, 6)
    assert gateway.stop_service() == 0
    assert all(connection.say() == b"still there?" for connection in running)
    gateway.start_service()
    assert all(connection.say() == b"still there?" for connection in running)
    close(running)


def test_uplink_ids_are_the_same_after_a_restart_with_another_order(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration({"wired": 1, "wifi1": 1}))
    before = {name: (u["id"], u["mark"]) for name, u in gateway.status()["uplinks"].items()}
    gateway.stop_service()
    text = gateway.service.config.read_text()
    cuts = [text.index(f"[{t}]") for t in ("uplinks.wired", "uplinks.wifi1", "balancers.all")]
    wired, wifi = text[cuts[0] : cuts[1]], text[cuts[1] : cuts[2]]
    gateway.service.config.write_text(text.replace(wired + wifi, wifi + wired))
    gateway.start_service()
    after = {name: (u["id"], u["mark"]) for name, u in gateway.status()["uplinks"].items()}
    assert list(after) == ["wifi1", "wired"]
    assert after == before
