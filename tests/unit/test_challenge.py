"""The segment that makes a client answer is what others make of it."""

from __future__ import annotations

import socket

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from classifier.host.conntrack import TcpConnection
from classifier.service.challenge import packet


@pytest.mark.parametrize(
    ("family", "layer", "client", "server"),
    [
        (socket.AF_INET, IP, "192.168.1.5", "203.0.113.9"),
        (socket.AF_INET6, IPv6, "fd00::5", "2001:db8::9"),
    ],
)
def test_it_comes_from_the_server_with_a_right_checksum(
    family: int, layer: type, client: str, server: str
) -> None:
    made = packet(
        TcpConnection(
            socket.inet_pton(family, client), 40000, socket.inet_pton(family, server), 443
        )
    )
    read = layer(made)
    assert (read.src, read.dst) == (server, client)
    assert (read[TCP].sport, read[TCP].dport, str(read[TCP].flags)) == (443, 40000, "SA")
    again = layer(made)
    del again[TCP].chksum
    assert layer(bytes(again))[TCP].chksum == read[TCP].chksum
