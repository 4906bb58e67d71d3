"""A flow written on the command line becomes the packet that it says."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.sctp import SCTP, SCTPChunkInit

from classifier.errors import UsageError
from classifier.service.explain.flow import first_packet, parse_flow


def test_a_tcp_flow_over_ipv4_becomes_its_syn() -> None:
    flow = parse_flow("tcp 192.168.1.5:40000 > 203.0.113.9:443 in lan0")
    assert flow.in_interface == "lan0"
    packet = IP(first_packet(flow))
    assert (packet.src, packet.dst, packet.len) == ("192.168.1.5", "203.0.113.9", 40)
    assert (packet[TCP].sport, packet[TCP].dport) == (40000, 443)
    assert packet[TCP].flags == "S"


def test_a_udp_flow_over_ipv6_has_its_ports_and_code_point() -> None:
    flow = parse_flow("udp [2001:db8::5]:4000 > [2001:db8::9]:53 dscp ef in br0")
    packet = IPv6(first_packet(flow))
    assert (packet.src, packet.dst, packet.plen) == ("2001:db8::5", "2001:db8::9", 8)
    assert (packet[UDP].sport, packet[UDP].dport) == (4000, 53)
    assert packet.tc >> 2 == 46
    assert str(flow) == "udp [2001:db8::5]:4000 > [2001:db8::9]:53 in br0 dscp ef"


def test_echo_requests_and_other_protocols_have_no_ports() -> None:
    assert IP(first_packet(parse_flow("icmp 10.0.0.1 > 192.0.2.1")))[ICMP].type == 8
    v6 = IPv6(first_packet(parse_flow("icmpv6 2001:db8::1 > [2001:db8::2]")))
    assert v6.haslayer(ICMPv6EchoRequest)
    assert IP(first_packet(parse_flow("gre 10.0.0.1 > 192.0.2.1"))).proto == 47
    assert IP(first_packet(parse_flow("99 10.0.0.1 > 192.0.2.1"))).proto == 99


def test_an_sctp_flow_becomes_its_init() -> None:
    packet = IP(first_packet(parse_flow("sctp 10.0.0.1:1 > 192.0.2.1:2")))
    assert (packet[SCTP].sport, packet[SCTP].dport) == (1, 2)
    assert packet[SCTPChunkInit].init_tag == 1


def test_a_dccp_flow_has_its_ports_where_dccp_has_them() -> None:
    packet = first_packet(parse_flow("dccp 10.0.0.1:258 > 192.0.2.1:772"))
    assert packet[20:24] == bytes([1, 2, 3, 4])
    assert packet[24] * 4 == len(packet) - 20


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the form is PROTOCOL"),
        ("tcp 10.0.0.1:1 192.0.2.1:2", "the form is PROTOCOL"),
        ("tcp 10.0.0.1:1 > 192.0.2.1:2 in", "the form is PROTOCOL"),
        ("tcp 10.0.0.1:1 > 192.0.2.1:2 at lan0", "the form is PROTOCOL"),
        ("tcp 10.0.0.1:1 > 192.0.2.1:2 in lan0 in lan1", "the form is PROTOCOL"),
        ("tcp 10.0.0.1 > 192.0.2.1:2", "tcp needs both ports"),
        ("icmp 10.0.0.1:1 > 192.0.2.1:2", "icmp has no ports"),
        ("tpc 10.0.0.1:1 > 192.0.2.1:2", "tpc must be the name of a protocol"),
        ("300 10.0.0.1 > 192.0.2.1", "from 0 to 255"),
        ("tcp 10.0.0.1:65536 > 192.0.2.1:2", "port 65536 is above 65535"),
        ("tcp 10.0.0.1:1 > [2001:db8::1]:2", "different address families"),
        ("tcp 2001:db8::1:1 > [2001:db8::1]:2", "needs both ports"),
        ("tcp example.org:1 > 192.0.2.1:2", "example.org:1 is not an address"),
        ("tcp 10.0.0.1:1 > 192.0.2.1:2 in a/b", "must be the name of an interface"),
        ("tcp 10.0.0.1:1 > 192.0.2.1:2 dscp 64", "from 0 to 63"),
        ("tcp 10.0.0.1:1 > 192.0.2.1:2 user nobody-at-all", "a user of this host"),
        ("tcp 10.0.0.1:1 > 192.0.2.1:2 user 0 in br0", "no input interface"),
        ("ah 2001:db8::1 > 2001:db8::2", "extension header"),
    ],
)
def test_a_flow_that_makes_no_sense_is_explained(text: str, says: str) -> None:
    with pytest.raises(UsageError, match="cannot read the flow") as caught:
        parse_flow(text)
    assert says in str(caught.value)


@given(st.text() | st.text("tcpudi 0123456789.:[]>n", max_size=60))
def test_any_text_is_a_flow_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert first_packet(parse_flow(text))
