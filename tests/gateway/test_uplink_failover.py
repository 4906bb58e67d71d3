"""What users notice when an uplink dies behind its link, or comes back."""

from __future__ import annotations

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from host_service import eventually
from host_snapshots import shell
from lasting_clients import Client, lasting
from test_uplink_life import (
    STICKY,
    WEIGHTS,
    black_hole,
    connections_of,
    probed,
    steer,
    taken,
    wait_for,
)

from classifier.lab.limits import scaled
from classifier.lab.topology import ISP_INTERFACE

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab
    from classifier.lab.namespace import Namespace

PORT = 8080
PROMISED = 1.0
"""Seconds from the flush until clients have another connection, and from the return of an uplink
until it has its share."""


def moment_of(gateway: Lab, words: str, times: int = 1) -> float:
    """When the service had said that; a monotonic time that is a little late."""
    eventually(lambda: gateway.service.log.read_text().count(words) >= times, words)
    return time.monotonic()


def serve(gateway: Lab) -> None:
    for version in (4, 6):
        gateway.serve(6, PORT, version)


def connections_known(gateway: Lab) -> set[str]:
    """The identities of all TCP connections: one that was ended and taken up again has another."""
    listed = gateway.gateway.run(["conntrack", "-L", "-p", "tcp", "-o", "id"]).stdout
    found = set(re.findall(r" id=(\d+)", listed))
    assert found
    return found


def clients_of(hosts: str, count: int = 8) -> list[Client]:
    """Every second one talks."""
    return [Client(hosts.format(n), talks=n % 4 < 2) for n in range(1, count + 1)]


def greeted(namespace: Namespace, host: str) -> str:
    """By the server, on a connection whose first packets may be lost."""
    with namespace.enter(), socket.create_connection((host, PORT), scaled(30.0)) as connection:
        return connection.makefile().readline().strip()


def is_direct(gateway: Lab, host: str) -> bool:
    return any(
        entry.dst == host and entry.mark & 0x3F00 == 0x3F00 for entry in gateway.connections()
    )


def test_clients_of_a_dead_uplink_are_on_another_within_a_second_and_it_gets_its_share_again(
    lab: StartLab, configuration: Configuration
) -> None:
    text = configuration(WEIGHTS, uplink='gateway6 = "auto"', more=probed("wifi1"))
    # Silent for so long that those who talk would not try again for a second and more.
    gateway = lab(text.replace("down = 2", "down = 5"))
    serve(gateway)
    behind = clients_of("198.18.30.{}") + clients_of("2001:db8:30::{}")
    own = clients_of("198.18.31.{}")
    with lasting(gateway.lan, PORT, behind), lasting(gateway.gateway, PORT, own):
        lost = [client for client in behind + own if client.uplink == "wifi1"]
        kept = [client for client in behind + own if client.uplink == "wired"]
        assert len(lost) == len(kept) == 12
        black_hole(gateway, "wifi1", True)
        flushed = moment_of(gateway, "connections are ended", 2)
        eventually(lambda: all(client.uplink == "wired" for client in lost), "all are on wired")
        late = [client for client in lost if client.taken[-1][0] > flushed + scaled(PROMISED)]
        assert late == []
        assert all(client.broken == [] for client in kept)
        black_hole(gateway, "wifi1", False)
        up = moment_of(gateway, "wifi1 is up")
        while "wifi1" not in taken(gateway, 2):
            assert time.monotonic() < up + scaled(PROMISED)
        assert taken(gateway).count("wifi1") == 10


def test_failback_move_leaves_no_client_on_the_standby_whenever_it_came_there(
    lab: StartLab, configuration: Configuration
) -> None:
    text = configuration(WEIGHTS, balancer=STICKY, uplink='failback = "move"').replace(
        "[uplinks.wifi1]", "[uplinks.wifi1]\ntier = 2"
    )
    gateway = lab(text)
    serve(gateway)
    steer(gateway, "wired", "down")
    early, late = clients_of("198.18.32.{}"), clients_of("198.18.33.{}")
    # The late ones have only just come: their flows are still known as in flight.
    with lasting(gateway.lan, PORT, early), lasting(gateway.lan, PORT, late):
        assert {client.uplink for client in early + late} == {"wifi1"}
        steer(gateway, "wired", "auto")
        moved = moment_of(gateway, "connections are ended", 2)
        eventually(lambda: all(c.uplink == "wired" for c in early + late), "all are on wired")
        assert max(client.taken[-1][0] for client in early + late) < moved + scaled(PROMISED)
        assert all(len(client.taken) == 2 for client in early + late), "none went there twice"
        assert connections_of(gateway, "wifi1") == 0


@pytest.mark.parametrize("first", WEIGHTS)
def test_when_all_uplinks_failed_clients_recover_with_the_first_that_is_back(
    lab: StartLab, configuration: Configuration, first: str
) -> None:
    # One is found dead before the other: its clients are sent to what is as dead as itself.
    rounds = {name: "down = 2" if name == first else "down = 6" for name in WEIGHTS}
    health = "".join(probed(name).replace("down = 2", rounds[name]) for name in WEIGHTS)
    gateway = lab(configuration(WEIGHTS, more=health))
    serve(gateway)
    clients = clients_of("198.18.34.{}")
    with lasting(gateway.lan, PORT, clients):
        for name in WEIGHTS:
            black_hole(gateway, name, True)
        for name in WEIGHTS:
            wait_for(gateway, name, "down")
        with ThreadPoolExecutor(1) as waiting:
            greeting = waiting.submit(greeted, gateway.lan, "198.18.34.99")
            eventually(lambda: is_direct(gateway, "198.18.34.99"), "it is left to the main table")
            # The one that main's default route does not know. Those that were on the other one are
            # told now, since there was none to take them before.
            black_hole(gateway, "wifi1", False)
            assert greeting.result() == "wifi1", "its next try finds it"
        eventually(lambda: all(c.uplink == "wifi1" for c in clients), "all are on wifi1")
        black_hole(gateway, "wired", False)
        wait_for(gateway, "wired", "up")
        assert taken(gateway).count("wired") == 10
        assert {client.uplink for client in clients} == {"wifi1"}, "no failback was asked for"


def test_the_only_uplink_carries_on_while_its_probes_fail_and_recovers_by_itself(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration({"wired": 1}, more=probed("wired")))
    serve(gateway)
    clients = clients_of("198.18.35.{}", 4)
    with lasting(gateway.lan, PORT, clients):
        before = connections_known(gateway)
        rule = "PREROUTING -p icmp -j DROP"
        shell(gateway.isps["wired"], f"iptables -w -t raw -I {rule}")
        wait_for(gateway, "wired", "down")
        assert set(taken(gateway, 4)) == {"wired"}, "new flows fall back to the main table"
        shell(gateway.isps["wired"], f"iptables -w -t raw -D {rule}")
        wait_for(gateway, "wired", "up")
        assert before <= connections_known(gateway)
        assert [client.broken for client in clients] == [[]] * 4
    assert "are ended" not in gateway.service.log.read_text()


def test_a_standby_that_flaps_touches_no_flow_of_the_active_one(
    lab: StartLab, configuration: Configuration
) -> None:
    text = configuration(WEIGHTS, uplink='failback = "move"').replace(
        "[uplinks.wifi1]", "[uplinks.wifi1]\ntier = 2"
    )
    gateway = lab(text)
    serve(gateway)
    clients = clients_of("198.18.36.{}")
    with lasting(gateway.lan, PORT, clients):
        before = connections_known(gateway)
        for _ in range(20):
            shell(gateway.isps["wifi1"], f"ip link set {ISP_INTERFACE} down")
            time.sleep(0.1)
            shell(gateway.isps["wifi1"], f"ip link set {ISP_INTERFACE} up")
            time.sleep(0.1)
        wait_for(gateway, "wifi1", "up")
        assert gateway.service.log.read_text().count("wifi1 is down") >= 2
        assert [client.broken for client in clients] == [[]] * 8
        assert before <= connections_known(gateway)
        assert set(taken(gateway)) == {"wired"}
