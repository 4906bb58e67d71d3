"""The gateway's own queries, connections and pings move to another uplink when theirs fails, with
the address of the uplink they leave by, and are answered."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING

import pytest
from host_service import eventually
from host_snapshots import VARIANTS, shell

from classifier.lab.limits import scaled
from classifier.lab.servers import QUESTION
from classifier.lab.topology import ISP_INTERFACE
from classifier.policy import FAMILIES

if TYPE_CHECKING:
    from conftest import Configuration, StartLab, UseIptables

    from classifier.host.iptables.programs import Variant
    from classifier.lab.flows import FiveTuple
    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}
DNS = 53
ECHO = {4: (socket.IPPROTO_ICMP, 8), 6: (socket.IPPROTO_ICMPV6, 128)}
"""Protocol, and type of an echo request (RFC 792, RFC 4443)."""


@pytest.fixture
def gateway(lab: StartLab, configuration: Configuration) -> Lab:
    made = lab(configuration(WEIGHTS, uplink='gateway6 = "fe80::1"'))
    made.gateway.sysctl("net.ipv4.ping_group_range", "0 2147483647")
    return made


def answer(gateway: Lab, flow: FiveTuple, protocol: int, port: int, question: bytes) -> bytes:
    """That to a datagram from a socket that is neither bound nor connected."""
    with gateway.gateway.enter():
        asking = socket.socket(flow.family, socket.SOCK_DGRAM, protocol)
    with asking:
        asking.settimeout(scaled(5))
        asking.sendto(question, (flow.dst, port))
        return asking.recv(256)


def query_is_answered(gateway: Lab, flow: FiveTuple) -> bool:
    return answer(gateway, flow, socket.IPPROTO_UDP, DNS, QUESTION).decode() in gateway.isps


def ping_is_answered(gateway: Lab, flow: FiveTuple) -> bool:
    protocol, kind = ECHO[flow.version]
    # The kernel fills in identifier and checksum.
    ping = bytes((kind, 0, 0, 0, 0, 0, 0, 1)) + QUESTION
    return answer(gateway, flow, protocol, 0, ping).endswith(QUESTION)


def own_flows(gateway: Lab) -> dict[str, set[str]]:
    """Sources by uplink of new flows of every kind, all of which are answered."""
    gateway.tap.clear()
    for family in FAMILIES:
        for protocol, port in (("udp", DNS), ("tcp", 8080)):
            flows = gateway.flows(4, protocol, port, source=None, family=family)
            answers = gateway.connect(flows, sender="gateway")
            assert None not in answers.values(), (protocol, family)
        remotes = gateway.flows(4, "udp", DNS, source=None, family=family)
        assert all(query_is_answered(gateway, flow) for flow in remotes)
        assert all(ping_is_answered(gateway, flow) for flow in remotes)
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


DIRECT = {4: "198.51.100.7", 6: "2001:db8:77::7"}
"""Remotes that the policy leaves to the main routing table."""
THREE = {"wired": 1, "wifi1": 1, "wifi2": 1}
WITHDRAWN = "ip link set eth0 down"
"""Takes the only default route of the main table along, of IPv4 and of IPv6."""


@pytest.fixture
def three(lab: StartLab, configuration: Configuration) -> Lab:
    remotes = ", ".join(f'"{remote}"' for remote in DIRECT.values())
    rules = f'[[rules]]\nname = "left to main"\nto = [{remotes}]\nuse = "direct"'
    made = lab(configuration(THREE, uplink='gateway6 = "fe80::1"', rules=rules), service=False)
    made.gateway.sysctl("net.ipv4.ping_group_range", "0 2147483647")
    return made


def routing_rules(gateway: Lab) -> str:
    return shell(gateway.gateway, "ip rule; ip -6 rule")


def wait_until_queued_from(gateway: Lab, interface: str) -> None:
    chains = "iptables -t mangle -S nfqc-output; ip6tables -t mangle -S nfqc-output"
    queued = f"-A nfqc-output -o {interface} -j nfqc-queue"
    eventually(
        lambda: shell(gateway.gateway, chains).count(queued) == len(FAMILIES),
        f"own flows by {interface} are classified",
    )


def try_direct_flows(gateway: Lab) -> int:
    """Begin a UDP and a TCP flow to each direct remote, without waiting; how many."""
    with gateway.gateway.enter(), contextlib.ExitStack() as stack:
        for family, remote in DIRECT.items():
            version = socket.AF_INET if family == 4 else socket.AF_INET6
            udp = stack.enter_context(socket.socket(version, socket.SOCK_DGRAM))
            udp.sendto(QUESTION, (remote, DNS))
            tcp = stack.enter_context(socket.socket(version, socket.SOCK_STREAM))
            tcp.setblocking(False)
            assert tcp.connect_ex((remote, 8080)) == errno.EINPROGRESS
    return 2 * len(DIRECT)


def wired_is_configured_again(gateway: Lab) -> None:
    """As a network configuration does: the kernel forgot addresses and routes with the link."""
    link = gateway.addresses.uplink("wired")
    shell(
        gateway.gateway,
        "ip link set eth0 up\n"
        f"ip addr replace {link.own}/{link.prefix} dev eth0\n"
        f"ip -6 addr replace {link.own6}/64 dev eth0 nodad\n"
        f"ip route replace default via {link.isp} dev eth0\n"
        f"ip -6 route replace default via {link.isp6} dev eth0\n",
    )


def test_own_flows_have_a_way_out_while_main_has_no_default_route_and_direct_ones_do_not_leak(
    three: Lab,
) -> None:
    """The kernel's first lookup, before any hook, would answer "network is unreachable"."""
    before = routing_rules(three)
    three.start_service()
    shell(three.gateway, WITHDRAWN)
    wait_until_queued_from(three, "eth1")
    # The first lookup gave all of them the source address of wifi1.
    assert own_flows(three) == addresses(three, "wifi1", "wifi2")

    three.tap.clear()
    tried = try_direct_flows(three)
    fence = three.flows(6, "udp", DNS, source=None)
    assert None not in three.ask(fence, sender="gateway").values(), "decided after those before"
    [rule] = (rule for rule in three.status()["rules"] if rule["name"] == "left to main")
    assert rule["flows"] == tried
    assert not set(DIRECT.values()) & {flow.dst for flow in three.tap.flows()}

    wired_is_configured_again(three)
    wait_until_queued_from(three, "eth0")
    wait_for(three, "wired", "up")
    assert own_flows(three) == addresses(three, *THREE)
    assert three.stop_service() == 0
    assert routing_rules(three) == before


@pytest.mark.parametrize("variant", VARIANTS)
def test_own_flows_have_a_way_out_also_when_the_service_was_killed_without_a_default_route(
    three: Lab, use_iptables: UseIptables, variant: Variant
) -> None:
    use_iptables(variant)
    three.start_service()
    shell(three.gateway, WITHDRAWN)
    wait_until_queued_from(three, "eth1")
    three.service.kill()
    assert own_flows(three) == addresses(three, "wifi1"), "the first one that has a route"
