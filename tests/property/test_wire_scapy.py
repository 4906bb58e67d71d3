"""Packets that scapy made are read as scapy describes them."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from probes import headers
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.ipsec import AH
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

port = st.integers(0, 65535)
ipv4 = st.ip_addresses(v=4)
ipv6 = st.ip_addresses(v=6)
dscp = st.integers(0, 63)
WHOLE, FIRST, LATER = 0, 1, 2
KINDS = {IPv6ExtHdrHopByHop: 0, IPv6ExtHdrRouting: 43, AH: 51, IPv6ExtHdrDestOpt: 60}


@st.composite
def transports(draw):
    """A layer with ports, and what the parser has to say of it."""
    sport, dport = draw(port), draw(port)
    kind = draw(st.sampled_from(["tcp", "udp", "sctp"]))
    read = {"sport": sport, "dport": dport, "has_ports": 1}
    data = Raw(draw(st.binary(max_size=200)))
    if kind == "tcp":
        flags = draw(st.integers(0, 255))
        options = draw(st.sampled_from([[], [("MSS", 1460)], [("NOP", None)] * 40]))
        layer = TCP(sport=sport, dport=dport, flags=flags, options=options)
        return layer / data, {**read, "protocol": 6, "tcp_flags": flags}
    if kind == "udp":
        return UDP(sport=sport, dport=dport) / data, {**read, "protocol": 17}
    return SCTP(sport=sport, dport=dport, tag=7) / data, {**read, "protocol": 132}


def words(address):
    number = int(ip_address(address))
    if ip_address(address).version == 4:
        number |= 0xFFFF << 32
    return [number >> 64, number & (1 << 64) - 1]


def assert_read(packet, **expected):
    got = headers(bytes(packet))
    assert got["malformed"] == 0
    assert {name: got[name] for name in expected} == expected


@settings(max_examples=150, deadline=None)
@given(
    ipv4,
    ipv4,
    dscp,
    transports(),
    st.sampled_from([[], [IPOption_NOP()] * 3, [IPOption_Router_Alert()]]),
)
def test_ipv4_with_options(src, dst, dscp, transport, options):
    layer, read = transport
    packet = IP(src=str(src), dst=str(dst), tos=dscp << 2, options=options) / layer
    size = len(bytes(packet))
    assert_read(
        packet,
        family=4,
        src=words(src),
        dst=words(dst),
        dscp=dscp,
        length=size,
        fragment=WHOLE,
        **read,
    )
    assert headers(bytes(packet) + b"ethernet padding")["length"] == size


@st.composite
def extensions(draw):
    layers = st.sampled_from(
        [
            IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]),
            IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)]),
            IPv6ExtHdrRouting(addresses=["2001:db8::9"]),
            AH(spi=3, seq=1, payloadlen=4, icv=b"\1" * 12),
        ]
    )
    return draw(st.lists(layers, max_size=3))


@settings(max_examples=100, deadline=None)
@given(ipv6, ipv6, dscp, extensions(), transports())
def test_ipv6_with_extension_headers(src, dst, dscp, chain, transport):
    layer, read = transport
    kinds = [*(KINDS[type(extension)] for extension in chain), read["protocol"]]
    packet = IPv6(src=str(src), dst=str(dst), tc=dscp << 2, nh=kinds[0])
    for extension, following in zip(chain, kinds[1:], strict=True):
        packet = packet / extension.copy()
        packet.lastlayer().nh = following
    data = bytes(packet / layer)
    offset = len(data) - len(layer)
    beyond = {} if offset + 20 <= 128 else {"has_ports": 0, "sport": 0, "dport": 0, "tcp_flags": 0}
    if beyond and offset + 12 <= 128:
        return
    got = headers(data)
    expected = {**read, **beyond, "transport": offset, "length": len(data), "dscp": dscp}
    assert got["malformed"] == 0
    assert (got["src"], got["dst"]) == (words(src), words(dst))
    assert {name: got[name] for name in expected} == expected


@settings(max_examples=60, deadline=None)
@given(ipv4, ipv4, st.integers(1, 8000), port, st.booleans())
def test_later_ipv4_fragments_have_no_ports(src, dst, offset, number, more):
    packet = IP(src=str(src), dst=str(dst), proto=17, frag=offset, id=number, flags=int(more))
    packet = packet / Raw(b"\1\2\3\4\5\6\7\x08")
    assert_read(
        packet, fragment=LATER, fragment_id=number, fragment_offset=offset * 8, has_ports=0,
        protocol=17, sport=0, dport=0,
    )  # fmt: skip


def test_first_fragments_have_ports():
    data = UDP(sport=7, dport=9) / Raw(bytes(1000))
    whole = bytes(IP(src="10.0.0.1", dst="8.8.8.8") / data)
    first = bytes(IP(src="10.0.0.1", dst="8.8.8.8", flags="MF", proto=17) / Raw(whole[20:100]))
    assert_read(first, fragment=FIRST, sport=7, dport=9, has_ports=1)
    first6 = IPv6(dst="2001:db8::1") / IPv6ExtHdrFragment(m=1, id=77, nh=17) / Raw(whole[20:100])
    assert_read(first6, fragment=FIRST, fragment_id=77, sport=7, dport=9, protocol=17)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8191), st.integers(0, 2**32 - 1), st.integers(0, 1))
def test_later_ipv6_fragments_have_no_ports(offset, number, more):
    fragment = IPv6ExtHdrFragment(offset=offset, id=number, m=more, nh=6)
    assert_read(
        IPv6(dst="2001:db8::1") / fragment / Raw(bytes(8)), fragment=LATER, fragment_id=number,
        fragment_offset=offset * 8, has_ports=0, protocol=6,
    )  # fmt: skip


def test_a_fragment_header_around_a_whole_packet_hides_nothing():
    packet = IPv6(dst="2001:db8::1") / IPv6ExtHdrFragment(id=5, nh=6) / TCP(sport=1, dport=2)
    assert_read(packet, fragment=WHOLE, sport=1, dport=2, protocol=6, has_ports=1)


@settings(max_examples=40, deadline=None)
@given(port, st.sampled_from([0, 8, 3, 13]))
def test_icmp_echo_has_an_identifier_and_no_ports(identifier, kind):
    packet = IP(src="10.0.0.1", dst="8.8.8.8") / ICMP(type=kind, id=identifier, seq=3)
    echo = kind in (0, 8)
    assert_read(
        packet, protocol=1, icmp_type=kind, has_ports=0, dport=0, sport=identifier if echo else 0
    )


@settings(max_examples=40, deadline=None)
@given(port)
def test_icmpv6_echo_has_an_identifier_and_no_ports(identifier):
    for layer in (ICMPv6EchoRequest, ICMPv6EchoReply):
        packet = IPv6(dst="2001:db8::1") / layer(id=identifier)
        assert_read(packet, protocol=58, icmp_type=layer().type, sport=identifier, has_ports=0)
    assert_read(
        IPv6(dst="fe80::1") / ICMPv6ND_NS(tgt="fe80::2"), protocol=58, icmp_type=135, sport=0
    )
