"""The parser at the edges: what is malformed and where, and what is only out of sight."""

from __future__ import annotations

import struct

import pytest
from probes import headers

SRC6, DST6 = bytes(range(16)), bytes(range(16, 32))
TCP, UDP, DCCP, SCTP, UDP_LITE = 6, 17, 33, 132, 136
PORTS = struct.pack("!HH", 1000, 2000)


def ipv4(payload, protocol=UDP, length=None, options=b"", first=None):
    header = 20 + len(options)
    return (
        struct.pack(
            "!BBHHHBBH4s4s",
            first if first is not None else 0x40 | header // 4,
            0xB9,
            header + len(payload) if length is None else length,
            9,
            0,
            64,
            protocol,
            0,
            b"\x0a\0\0\1",
            b"\x08\x08\x04\x04",
        )
        + options
        + payload
    )


def ipv6(payload, protocol=UDP, length=None):
    stated = len(payload) if length is None else length
    return struct.pack("!IHBB", 0x6B9 << 20, stated, protocol, 64) + SRC6 + DST6 + payload


def udp(length=8, body=b""):
    return PORTS + struct.pack("!HH", length, 0) + body


def tcp(offset=5, body=b""):
    return PORTS + bytes(8) + bytes([offset << 4, 0x12]) + bytes(6) + body


def malformed(data):
    """The offset of the fault, None if there is none."""
    code = headers(data)["malformed"]
    return code - 1 if code else None


@pytest.mark.parametrize(
    ("protocol", "payload"),
    [
        (TCP, tcp()),
        (UDP, udp()),
        (UDP_LITE, udp()),
        (SCTP, PORTS + bytes(8)),
        (DCCP, PORTS + bytes(8)),
    ],
)
@pytest.mark.parametrize("version", [ipv4, ipv6])
def test_ports_are_read_and_every_shorter_capture_is_malformed(version, protocol, payload):
    whole = version(payload, protocol)
    read = headers(whole)
    assert (read["sport"], read["dport"], read["has_ports"]) == (1000, 2000, 1)
    assert (read["protocol"], read["dscp"], read["malformed"]) == (protocol, 46, 0)
    for size in range(len(whole)):
        assert malformed(whole[:size]) is not None


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"", 0),
        (b"\x00" * 40, 0),
        (b"\x55" * 40, 0),
        (ipv4(udp(), first=0x44), 0),
        (ipv4(udp(), length=19), 2),
        (ipv4(udp(), length=27), 20),
        (ipv4(udp(7)), 24),
        (ipv4(udp(9)), 24),
        (ipv4(tcp(4), TCP), 32),
        (ipv4(tcp(6), TCP), 32),
        (ipv4(tcp(), TCP, length=39), 20),
        (ipv4(udp(7), UDP_LITE), 24),
        (ipv4(bytes(7), 1), 20),
        (ipv6(udp(), length=7), 40),
        (ipv6(bytes([UDP, 1, 0, 0, 0, 0, 0, 0]), 0), 56),
        (ipv6(bytes([59, 1, 0, 0, 0, 0, 0, 0]), 60), 56),
    ],
)
def test_a_fault_is_found_where_it_is(data, offset):
    assert malformed(data) == offset


def test_protocols_without_ports_are_flows_by_their_addresses():
    read = headers(ipv4(b"", 47))
    assert (read["protocol"], read["has_ports"], read["malformed"]) == (47, 0, 0)
    read = headers(ipv6(b"", 59))
    assert (read["protocol"], read["malformed"]) == (59, 0)


def test_big_tcp_states_no_length():
    read = headers(ipv4(tcp(body=bytes(80_000)), TCP, length=0))
    assert (read["length"], read["dport"], read["malformed"]) == (80_040, 2000, 0)
    read = headers(ipv6(tcp(body=bytes(80_000)), TCP, length=0))
    assert (read["length"], read["dport"], read["malformed"]) == (80_060, 2000, 0)


def test_a_jumbogram_states_its_length_in_an_option():
    payload = tcp(body=bytes(70_000))
    option = bytes([TCP, 0, 0xC2, 4]) + struct.pack("!I", len(payload) + 8)
    data = ipv6(option + payload, 0, length=0)
    for given in (data, data[:128]):
        read = headers(given)
        assert (read["length"], read["dport"], read["malformed"]) == (70_068, 2000, 0)


def test_padding_behind_the_packet_is_not_part_of_it():
    assert headers(ipv4(udp()) + bytes(18))["length"] == 28
    assert malformed(ipv4(b"", UDP) + udp()) == 20


def test_headers_past_the_copied_bytes_are_out_of_sight_but_not_malformed():
    options = bytes([TCP, 10]) + bytes(86)
    read = headers(ipv6(options + tcp(body=bytes(50)), 60))
    assert (read["protocol"], read["has_ports"], read["malformed"]) == (TCP, 0, 0)
    assert (read["transport"], read["dst"]) == (128, [0x1011121314151617, 0x18191A1B1C1D1E1F])


def test_a_capture_cut_within_an_option_less_than_the_copy_is_malformed():
    data = ipv4(tcp(), TCP, options=b"\x01" * 40)
    assert headers(data)["transport"] == 60
    assert malformed(data[:60]) == 60
    assert malformed(data[:59]) == 59
