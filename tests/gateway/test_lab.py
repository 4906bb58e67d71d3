"""The lab tells the truth: it reports the uplink that a flow really took, and loses no packet.

Here no service runs: routes made by hand send flows by known uplinks.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from classifier.errors import LabError
from classifier.lab.features import missing_helper_modules
from classifier.lab.flows import FiveTuple
from classifier.lab.lab import Lab
from classifier.lab.packets import datagram, syn
from classifier.lab.servers import Servers

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

# Remotes in the first network leave by wifi1, in the second by wifi2, all others by wired.
BY_WIFI1, BY_WIFI2 = ip_network("198.18.0.0/16"), ip_network("198.19.128.0/17")


def expected(flow: FiveTuple) -> str:
    remote = ip_address(flow.dst)
    return "wifi1" if remote in BY_WIFI1 else "wifi2" if remote in BY_WIFI2 else "wired"


@pytest.fixture
def routed(lab: StartLab, configuration: Configuration) -> Iterator[Lab]:
    """A gateway that routes by remote and masquerades, without the service."""
    text = configuration({"wired": 1, "wifi1": 1, "wifi2": 1}, uplink='gateway6 = "fe80::1"')
    built = lab(text, service=False)
    gateway = built.gateway
    gateway.sysctl("net.ipv4.ip_forward", 1)
    gateway.sysctl("net.ipv6.conf.all.forwarding", 1)
    for uplink in built.addresses.uplinks:
        gateway.sysctl(f"net.ipv4.conf.{uplink.interface}.rp_filter", 0)
        for program in ("iptables", "ip6tables"):
            rule = ["-A", "POSTROUTING", "-o", uplink.interface, "-j", "MASQUERADE"]
            gateway.run([program, "-w", "-t", "nat", *rule])
    for table, (name, network) in enumerate((("wifi1", BY_WIFI1), ("wifi2", BY_WIFI2)), 200):
        uplink = built.addresses.uplink(name)
        via = ["via", str(uplink.isp), "dev", uplink.interface]
        gateway.run(["ip", "route", "add", "default", *via, "table", str(table)])
        gateway.run(["ip", "rule", "add", "to", str(network), "lookup", str(table)])
    yield built


def test_a_tcp_flow_is_answered_by_the_isp_it_arrives_at(routed: Lab) -> None:
    flows = routed.flows(600, "tcp", [8080, 443])
    taken = routed.connect(flows)
    assert taken == {flow: expected(flow) for flow in flows}
    assert set(taken.values()) == {"wired", "wifi1", "wifi2"}


def test_a_udp_question_is_answered_from_the_address_it_was_sent_to(routed: Lab) -> None:
    flows = routed.flows(300, "udp", 53)
    assert routed.ask(flows) == {flow: expected(flow) for flow in flows}


def test_the_tap_counts_every_packet_where_it_leaves(routed: Lab) -> None:
    assert routed.tap.packets().total() == 0
    flows = routed.flows(200, "udp", 9000)
    routed.send(flows, packets=10)
    routed.tap.wait_for_packets(2000)
    seen = routed.tap.flows()
    assert sorted((f.dst, f.sport, f.dport) for f in seen) == sorted(
        (f.dst, f.sport, f.dport) for f in flows
    )
    assert all(list(counts.values()) == [10] for counts in seen.values())
    assert routed.tap.uplinks(flows) == {flow: frozenset({expected(flow)}) for flow in flows}
    assert routed.tap.split_flows() == []
    own = {str(uplink.own) for uplink in routed.addresses.uplinks}
    assert {flow.src for flow in seen} == own, "the tap sees masqueraded sources"


def test_what_was_sent_before_the_tap_was_cleared_is_not_counted_after(
    routed: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine a server closes its connections late, and their last packets come then."""

    def late(servers: Servers, connection: socket.socket) -> None:
        time.sleep(0.2)
        echo(servers, connection)

    echo = Servers._echo
    monkeypatch.setattr(Servers, "_echo", late)
    routed.connect(routed.flows(3, "tcp", 8080))
    routed.tap.clear()
    (flow,) = routed.flows(1, "udp", 9000)
    routed.send([flow])
    routed.tap.wait_for_packets(1)
    time.sleep(0.7)  # in which the last packets would come
    assert [seen.after_nat for seen in routed.tap.flows()] == [flow.after_nat]


def test_the_tap_keeps_the_order_in_which_flows_left(routed: Lab) -> None:
    # One to every ISP, so that no packet waits while the ISP's hardware address is asked for.
    routed.connect(routed.flows(6, "tcp", 8080, to=["198.18.7.7", "198.19.200.7", "203.0.113.9"]))
    routed.tap.clear()
    flows = routed.flows(300, "tcp", 8080)
    routed.connect(flows)
    assert [(seen.sport, name) for seen, name in routed.tap.order()] == [
        (flow.sport, expected(flow)) for flow in flows
    ]


def test_a_flow_that_was_split_across_uplinks_is_found(routed: Lab) -> None:
    routed.tap.clear()
    (flow,) = routed.flows(1, "udp", 9000, to="203.0.113.9")
    routed.send([flow])
    routed.tap.wait_for_packets(1)
    routed.gateway.run(["conntrack", "-F"])
    routed.gateway.run(["ip", "rule", "add", "to", "203.0.113.9", "lookup", "201"])
    routed.send([flow])
    routed.tap.wait_for_packets(2)
    assert {seen.sport for seen in routed.tap.split_flows()} == {flow.sport}
    assert routed.tap.uplinks([flow]) == {flow: frozenset({"wired", "wifi2"})}


def test_a_flow_that_nobody_answers_is_reported_as_lost(routed: Lab) -> None:
    rule = ["-A", "FORWARD", "-p", "tcp", "--dport", "8081", "-j", "REJECT"]
    routed.gateway.run(["iptables", "-w", *rule, "--reject-with", "tcp-reset"])
    refused, answered = routed.flows(2, "tcp", [8081, 8080])
    assert routed.connect([refused, answered]) == {refused: None, answered: expected(answered)}


def test_own_flows_of_the_gateway_reach_the_internet(routed: Lab) -> None:
    flows = routed.flows(100, "tcp", 80, source=None)
    assert routed.connect(flows, sender="gateway") == {flow: expected(flow) for flow in flows}


def test_ipv6_flows_are_answered_and_counted(routed: Lab) -> None:
    routed.tap.clear()
    tcp, udp = routed.flows(50, "tcp", 80, family=6), routed.flows(50, "udp", 53, family=6)
    assert set(routed.connect(tcp).values()) == {"wired"}
    assert set(routed.ask(udp).values()) == {"wired"}
    assert set(routed.tap.uplinks([*tcp, *udp]).values()) == {frozenset({"wired"})}


@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_ftp_control_and_data_say_by_which_uplink_they_came(routed: Lab, passive: bool) -> None:
    helper = ["-A", "PREROUTING", "-p", "tcp", "--dport", "21", "-j", "CT", "--helper", "ftp"]
    routed.gateway.run(["iptables", "-w", "-t", "raw", *helper])
    if not passive and (missing := missing_helper_modules(["ftp"])):
        routed.gateway.run(["modprobe", "-a", *missing])
    transfer = routed.ftp_transfer("198.18.7.7", passive=passive)
    assert (transfer.control, transfer.data, transfer.error) == ("wifi1", "wifi1", None)


def test_without_the_helper_an_active_ftp_visit_fails_and_says_so(routed: Lab) -> None:
    transfer = routed.ftp_transfer("198.18.7.7", passive=False)
    assert (transfer.control, transfer.data) == ("wifi1", None)
    assert transfer.error


def test_a_connection_stays_open_and_is_echoed_until_the_way_breaks(routed: Lab) -> None:
    (flow,) = routed.flows(1, "tcp", 8080, to="198.18.7.7")
    with routed.open(flow) as connection:
        assert connection.uplink == "wifi1"
        assert connection.echo(b"x" * 100_000) == b"x" * 100_000
        (tracked,) = [c for c in routed.connections() if c.sport == flow.sport]
        assert (tracked.dst, tracked.reply_dst) == ("198.18.7.7", "192.0.3.2")


def test_packets_made_by_hand_leave_as_they_are(routed: Lab) -> None:
    routed.tap.clear()
    packets = [
        datagram(FiveTuple(17, "10.77.1.2", 7, "203.0.113.4", 9), b"hello"),
        syn(FiveTuple(6, "10.77.1.2", 8, "198.18.0.4", 9)),
        datagram(FiveTuple(17, "fd00:76:1::9", 7, "2001:2::7", 9), b"odd"),
    ]
    assert routed.inject(packets) == 3
    routed.tap.wait_for_packets(3)
    assert sorted((f.protocol, f.sport, f.dst, n) for f, n in routed.tap.flows().items()) == [
        (6, 8, "198.18.0.4", {"wifi1": 1}),
        (17, 7, "2001:2::7", {"wired": 1}),
        (17, 7, "203.0.113.4", {"wired": 1}),
    ]


def test_a_flow_that_comes_in_on_an_uplink_reaches_the_gateway(routed: Lab) -> None:
    own = str(routed.addresses.uplink("wifi1").own)
    (flow,) = routed.flows(1, "tcp", 2222, to=own, source="198.18.9.9")
    routed.serve(flow.protocol, flow.dport, at="gateway")
    assert routed.connect([flow], sender="wifi1") == {flow: "gateway"}


def test_a_service_that_ends_at_once_is_an_error_with_its_words(routed: Lab) -> None:
    with pytest.raises(LabError, match=r"the service ended with \d+:\n\S"):
        routed.start_service("--no-such-option")
