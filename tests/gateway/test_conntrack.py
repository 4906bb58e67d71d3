"""Connections are found and ended by mark and family, in the kernel's own table."""

from __future__ import annotations

import re
import socket

import pytest
from host_snapshots import shell

from classifier.errors import HostError
from classifier.host import conntrack
from classifier.host.conntrack import TcpConnection
from classifier.lab.namespace import Namespace
from classifier.policy import Family

MASK = 0x3F00
CREATE = "conntrack -I --timeout 300"


def known(host: Namespace, family: str) -> set[str]:
    """The destination ports of all connections."""
    listed = shell(host, f"conntrack -L -f {family} 2>/dev/null")
    return {re.findall(r"dport=(\d+)", line)[0] for line in listed.splitlines()}


def tcp(addresses: str, port: int, mark: int, more: str = "", state: str = "ESTABLISHED") -> str:
    ends = f"{addresses} --sport 40000 --dport {port}"
    return f"{CREATE} -p tcp --state {state} -u SEEN_REPLY {ends} --mark {mark} {more}"


def udp(port: int) -> str:
    """It has had no answer."""
    return f"{CREATE} -p udp {FOUR} --sport 40000 --dport {port} --mark 256"


FOUR = "-s 10.0.0.1 -d 203.0.113.9"
SIX = "-s fd00::1 -d 2001:db8::9"


@pytest.fixture
def table(host: Namespace) -> Namespace:
    """TCP to ports 1 to 8 and UDP to 9, 10 and 11, over IPv4; TCP to 11 and 12 over IPv6."""
    masqueraded = "-n 192.0.2.1"
    lines = [
        tcp(FOUR, 1, 0x100, masqueraded),
        tcp(FOUR, 2, 0x100 | 0xC0FF, masqueraded),
        tcp(FOUR, 3, 0x200, masqueraded),
        tcp(FOUR, 4, 0, masqueraded),
        tcp(FOUR, 5, 0x3F00, masqueraded),
        tcp(FOUR, 6, 0x100),
        tcp(FOUR, 7, 0x100, masqueraded, "SYN_SENT"),
        tcp("-s 198.51.100.7 -d 192.0.2.1", 8, 0x100, "-g 10.0.0.1"),
        udp(9),
        udp(10),
        udp(11),
        tcp(SIX, 11, 0x100, "-n 2001:db8:1::1"),
        tcp(SIX, 12, 0x200, "-n 2001:db8:1::1"),
    ]
    # The first rule that needs it brings connection tracking into the namespace.
    shell(host, "iptables -w -A INPUT -m conntrack --ctstate NEW")
    shell(host, "ip6tables -w -A INPUT -m conntrack --ctstate NEW")
    shell(host, "\n".join(lines))
    return host


def test_all_of_a_mark_and_family_go_and_no_others(table: Namespace) -> None:
    with table.enter():
        conntrack.flush(0x100, MASK, 4)
    assert known(table, "ipv4") == {"3", "4", "5"}
    assert known(table, "ipv6") == {"11", "12"}
    with table.enter():
        conntrack.flush(0x100, MASK, 6)
    assert known(table, "ipv6") == {"12"}


@pytest.mark.parametrize(
    ("family", "client", "server", "ports"),
    [(4, "10.0.0.1", "203.0.113.9", [1, 2]), (6, "fd00::1", "2001:db8::9", [11])],
)
def test_clients_are_those_of_established_masqueraded_connections_that_began_inside(
    table: Namespace, family: Family, client: str, server: str, ports: list[int]
) -> None:
    of = socket.AF_INET if family == 4 else socket.AF_INET6
    ends = socket.inet_pton(of, client), socket.inet_pton(of, server)
    with table.enter():
        found = [c.masqueraded_tcp for c in conntrack.connections(0x100, MASK, family, 1000)]
        few = list(conntrack.connections(0x100, MASK, family, 1))
        none = list(conntrack.connections(0x400, MASK, family, 1000))
    clients = sorted(filter(None, found), key=lambda connection: connection.server_port)
    assert clients == [TcpConnection(ends[0], 40000, ends[1], port) for port in ports]
    assert len(few) == 1
    assert none == []


def test_those_without_an_answer_end_one_by_one(table: Namespace) -> None:
    with table.enter():
        there = conntrack.connections(0x100, MASK, 4, 1000)
        unanswered = [connection for connection in there if not connection.answered]
        # One has ended by itself, and one has an answer by then.
        shell(table, f"conntrack -D -p udp {FOUR} --dport 9 2>/dev/null")
        shell(table, f"conntrack -U -p udp {FOUR} --dport 10 -u SEEN_REPLY 2>/dev/null")
        conntrack.end_unanswered(unanswered)
    assert len(unanswered) == 3
    assert known(table, "ipv4") == {"1", "2", "3", "4", "5", "6", "7", "8", "10"}


def test_what_the_kernel_refuses_is_told(host: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conntrack, "_DELETE", 1 << 8 | 63)
    with host.enter(), pytest.raises(HostError, match="of mark 0x100 cannot be "):
        conntrack.flush(0x100, MASK)
