"""The gateway's own queries, connections and pings move to another uplink when theirs fails, with
the address of the uplink they leave by, and are answered."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from host_service import eventually
from host_snapshots import shell

from classifier.lab.limits import scaled
from classifier.lab.servers import QUESTION
from classifier.lab.topology import ISP_INTERFACE

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.flows import FiveTuple
    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}
DNS = 53
ECHO = {4: (socket.IPPROTO_ICMP, 8), 6: (socket.IPPROTO_ICMPV6, 128)}
"""Protocol, and type of an echo request (RFC 792, RFC 4443)."""
FAMILIES = (4, 6)


@pytest.fixture
def gateway(lab: StartLab, configuration: Configuration) -> Lab:
    made = lab(configuration(WEIGHTS, uplink='gateway6 = "fe80::1"'))
    made.gateway.sysctl("net.ipv4.ping_group_range", "0 2147483647")
    return made


def is_answered(gateway: Lab, flow: FiveTuple) -> bool:
    """Whether an unbound ping to the flow's remote is."""
    protocol, kind = ECHO[flow.version]
    with gateway.gateway.enter():
        ping = socket.socket(flow.family, socket.SOCK_DGRAM, protocol)
    with ping:
        ping.settimeout(scaled(5))
        # The kernel fills in identifier and checksum.
        ping.sendto(bytes((kind, 0, 0, 0, 0, 0, 0, 1)) + QUESTION, (flow.dst, 0))
        return ping.recv(256).endswith(QUESTION)


def own_flows(gateway: Lab) -> dict[str, set[str]]:
    """Sources by uplink of new flows of every kind, all of which are answered."""
    gateway.tap.clear()
    for family in FAMILIES:
        for protocol, port in (("udp", DNS), ("tcp", 8080)):
            flows = gateway.flows(4, protocol, port, source=None, family=family)
            answers = gateway.connect(flows, sender="gateway")
            assert None not in answers.values(), (protocol, family)
        remotes = gateway.flows(4, "udp", DNS, source=None, family=family)
        assert all(is_answered(gateway, flow) for flow in remotes)
    found: dict[str, set[str]] = {}
    kinds: dict[str, set[tuple[int, int]]] = {}
    for flow, uplinks in gateway.tap.flows().items():
        for name in uplinks:
            found.setdefault(name, set()).add(str(flow.src))
            kinds.setdefault(name, set()).add((flow.version, flow.protocol))
    assert all(len(seen) == 3 * len(FAMILIES) for seen in kinds.values()), kinds
    return found


def addresses(gateway: Lab, *names: str) -> dict[str, set[str]]:
    uplinks = [gateway.addresses.uplink(name) for name in names]
    return {uplink.name: {str(uplink.own), str(uplink.own6)} for uplink in uplinks}


def wait_for(gateway: Lab, uplink: str, state: str) -> None:
    eventually(
        lambda: str(gateway.status()["uplinks"][uplink]["state"]) == state, f"{uplink} is {state}"
    )


@pytest.mark.parametrize(("failing", "other"), [("wired", "wifi1"), ("wifi1", "wired")])
def test_own_flows_of_every_kind_leave_by_another_uplink_while_theirs_has_no_carrier(
    gateway: Lab, failing: str, other: str
) -> None:
    assert own_flows(gateway) == addresses(gateway, "wired", "wifi1")
    shell(gateway.isps[failing], f"ip link set {ISP_INTERFACE} down")
    wait_for(gateway, failing, "down")
    assert own_flows(gateway) == addresses(gateway, other)
    link = gateway.addresses.uplink(failing)
    shell(
        gateway.isps[failing],
        f"ip link set {ISP_INTERFACE} up\n"
        # What the kernel took away there of IPv6.
        f"ip addr add {link.isp6}/64 dev {ISP_INTERFACE} nodad\n"
        f"ip route add {link.own6}/64 dev {ISP_INTERFACE}\n",
    )
    wait_for(gateway, failing, "up")
    assert own_flows(gateway).keys() == {"wired", "wifi1"}


def test_own_flows_use_main_s_other_default_route_when_the_first_went_with_its_interface(
    gateway: Lab,
) -> None:
    second = "default via {} dev eth1 metric 200"
    isp = gateway.addresses.uplink("wifi1")
    for family, router in ((4, isp.isp), (6, isp.isp6)):
        shell(gateway.gateway, f"ip -{family} route add {second.format(router)}")
    shell(gateway.gateway, "ip link set eth0 down")
    wait_for(gateway, "wired", "down")
    assert own_flows(gateway) == addresses(gateway, "wifi1")
