"""A gateway that cannot be one is refused by `run` and `plan`; one behind no network if meant."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_service import CONFIG, WITH_IPV6, HostService, running
from host_snapshots import make_host, shell, snapshot

from classifier.lab.namespace import Namespace

REMOTE = "203.0.113.9"
OWN = "is an address of this host ({}); name the router's"
OUTSIDE = (
    "is in none of the networks of {}; correct it, or set uplinks.{}.onlink = true if that is meant"
)
REFUSED = {
    ('"10.1.0.2"', '"10.9.0.2"'): "wifi.gateway = 10.9.0.2: " + OUTSIDE.format("eth1", "wifi"),
    ('"10.1.0.2"', '"10.0.0.1"'): "wifi.gateway = 10.0.0.1: " + OWN.format("eth0"),
    ('"10.1.0.2"', '"10.2.0.1"\nonlink = true'): "wifi.gateway = 10.2.0.1: " + OWN.format("eth2"),
    ('"2001:db8::2"', '"2001:db8:9::2"'): "wired.gateway6 = 2001:db8:9::2: "
    + OUTSIDE.format("eth0", "wired"),
    ('"2001:db8::2"', '"2001:db8:1::1"'): "wired.gateway6 = 2001:db8:1::1: " + OWN.format("eth1"),
}


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


def test_what_cannot_be_a_gateway_is_refused_by_run_and_plan_in_the_same_words(
    host: Namespace, tmp_path: Path
) -> None:
    before = snapshot(host)
    for number, ((old, new), words) in enumerate(REFUSED.items()):
        config = (WITH_IPV6 if ":" in new else CONFIG).replace(old, new)
        service = HostService(host, tmp_path / str(number), config)
        assert service.refused() == f"nfq-classifier: uplinks.{words}\n"
        where = ("--state-dir", str(service.state_dir))
        planned = service.command("plan", str(service.config), *where).stdout
        assert planned.startswith(f"# run refuses to start:\n#   uplinks.{words}\n")
    assert snapshot(host) == before


def test_a_gateway_outside_the_networks_works_where_it_is_meant(
    host: Namespace, tmp_path: Path
) -> None:
    config = CONFIG.replace('"10.1.0.2"', '"10.9.0.2"\nonlink = true')
    with Namespace.create("internet") as internet:
        place = f"/proc/self/fd/{internet.fileno()}"
        host.run(["ip", "link", "set", "peer1", "netns", place], pass_fds=[internet.fileno()])
        shell(
            internet,
            f"ip addr add {REMOTE} dev lo; ip addr add 10.9.0.2/32 dev peer1\n"
            "ip link set peer1 up; ip route add 10.1.0.0/24 dev peer1",
        )
        with running(host, tmp_path, config) as service:
            assert "uplink wifi" not in service.said
            with internet.enter():
                server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with host.enter():
                client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with server, client:
                for end in (server, client):
                    end.settimeout(10)
                server.bind((REMOTE, 7))
                client.bind(("10.1.0.1", 0))
                client.sendto(b"there", (REMOTE, 7))
                _, source = server.recvfrom(100)
                assert source[0] == "10.1.0.1"
                server.sendto(b"back", source)
                assert client.recv(100) == b"back"
