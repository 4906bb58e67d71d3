"""A socket of the gateway that is bound to an uplink has chosen: every flow of it leaves there."""

from __future__ import annotations

import itertools
import socket
from typing import TYPE_CHECKING

import pytest

from classifier.lab.flows import TCP, UDP, FiveTuple
from classifier.lab.servers import QUESTION

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1, "wifi2": 1}
PROTOCOLS = {"tcp": TCP, "udp": UDP}
PORT = 8080
MANY = 20


@pytest.fixture
def gateway(lab: StartLab, configuration: Configuration) -> Lab:
    made = lab(configuration(WEIGHTS, uplink='gateway6 = "fe80::1"'))
    for number, version in itertools.product(PROTOCOLS.values(), (4, 6)):
        made.serve(number, PORT, version)
    return made


def answered_by(gateway: Lab, flow: FiveTuple, interface: str = "", address: str = "") -> str:
    """The uplink that a flow of a bound socket took; empty: no answer came."""
    kind = socket.SOCK_STREAM if flow.protocol == TCP else socket.SOCK_DGRAM
    with gateway.gateway.enter():
        bound = socket.socket(socket.AF_INET6 if flow.version == 6 else socket.AF_INET, kind)
    with bound:
        bound.settimeout(5)
        if interface:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        if address:
            bound.bind((address, 0))
        try:
            bound.connect((flow.dst, flow.dport))
            if flow.protocol == UDP:
                bound.send(QUESTION)
            return bound.recv(256).decode().strip()
        except OSError:
            return ""


def check(gateway: Lab, name: str, family: int, **bound: str) -> None:
    """MANY flows of each protocol left by the uplink `name`, with its address and its mark."""
    uplink = gateway.addresses.uplink(name)
    mark = gateway.policy.mark(gateway.policy.uplink(name))
    for protocol in PROTOCOLS:
        gateway.tap.clear()
        flows = gateway.flows(MANY, protocol, PORT, source=None, family=family)
        assert [answered_by(gateway, flow, **bound) for flow in flows] == [name] * MANY
        own = str(uplink.own6 if family == 6 else uplink.own)
        assert {seen.src for seen in gateway.tap.flows() if seen.dport == PORT} == {own}
        remotes = {flow.dst for flow in flows}
        listed = gateway.connections("ipv6" if family == 6 else "ipv4")
        known = [c for c in listed if c.dst in remotes and c.protocol == PROTOCOLS[protocol]]
        assert {connection.mark for connection in known} == {mark}
        assert len(known) == MANY


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", WEIGHTS)
def test_a_socket_bound_to_an_interface_leaves_by_it_every_time(
    gateway: Lab, name: str, family: int
) -> None:
    check(gateway, name, family, interface=gateway.addresses.uplink(name).interface)


@pytest.mark.parametrize("family", [4, 6])
def test_a_socket_bound_to_an_address_leaves_by_the_uplink_that_has_it(
    gateway: Lab, family: int
) -> None:
    for name in ("wifi1", "wifi2"):
        uplink = gateway.addresses.uplink(name)
        check(gateway, name, family, address=str(uplink.own6 if family == 6 else uplink.own))


def test_ping_by_an_interface_is_answered_every_time(gateway: Lab) -> None:
    gateway.gateway.run(["sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647"])
    request = b"\x08\0\0\0" + b"\0\0\0\1" + b"still there?"  # RFC 792; the kernel adds the rest
    for name in WEIGHTS:
        interface = gateway.addresses.uplink(name).interface.encode()
        for flow in gateway.flows(10, "udp", PORT, source=None):
            with gateway.gateway.enter():
                ping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
            with ping:
                ping.settimeout(5)
                ping.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface)
                ping.sendto(request, (flow.dst, 0))
                assert ping.recv(256).endswith(b"still there?")
    marks = [c.mark for c in gateway.connections() if c.protocol == socket.IPPROTO_ICMP]
    wanted = [gateway.policy.mark(uplink) for uplink in gateway.policy.uplinks]
    assert sorted(marks) == sorted(wanted * 10)


def test_unbound_sockets_are_balanced_all_the_same(gateway: Lab) -> None:
    flows = gateway.flows(30, "tcp", PORT, source=None)
    taken = list(gateway.connect(flows, sender="gateway").values())
    assert {name: taken.count(name) for name in WEIGHTS} == dict.fromkeys(WEIGHTS, 10)
