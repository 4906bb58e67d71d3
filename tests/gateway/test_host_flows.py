"""What the rules, routes and chains do to packets, with no classifier answering."""

from __future__ import annotations

import dataclasses
import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from host_snapshots import LTE, VARIANTS, WIFI, WIRED, apply_in, make_host, policy, shell

from classifier.host import programs, reading
from classifier.host.iptables.programs import Variant
from classifier.host.iptables.unclassified import unclassified
from classifier.lab.namespace import Namespace

pytestmark = pytest.mark.gateway

REMOTE, REMOTE6 = "203.0.113.9", "2001:db8:ffff::9"
SO_MARK = 36  # <asm-generic/socket.h>; Python has no name for it before 3.14
STRICT = "sysctl -qw net.ipv4.conf.all.rp_filter=1\n"

_SECOND = dataclasses.replace(WIFI, gateway="10.1.0.2", gateway6="2001:db8:1::2")


@dataclasses.dataclass
class Network:
    """A gateway between a LAN and an internet that both uplinks lead to."""

    gateway: Namespace
    lan: Namespace
    internet: Namespace

    def apply(self, variant: Variant = "nft") -> None:
        apply_in(self.gateway, policy(WIRED, _SECOND, LTE), variant)

    @contextmanager
    def server(self, address: str = REMOTE) -> Iterator[socket.socket]:
        """Bound to port 7 of a remote; the source address of what it gets tells the uplink."""
        with udp(self.internet, address) as bound:
            bound.bind((address, 7))
            yield bound


@pytest.fixture
def network() -> Iterator[Network]:
    with (
        make_host("gateway") as gateway,
        Namespace.create("lan") as lan,
        Namespace.create("internet") as internet,
    ):
        for peer, namespace in (("peer0", internet), ("peer1", internet), ("peer2", lan)):
            place = f"/proc/self/fd/{namespace.fileno()}"
            command = ["ip", "link", "set", peer, "netns", place]
            gateway.run(command, pass_fds=[namespace.fileno()])
        for number in (0, 1):
            shell(
                internet,
                f"ip addr add 10.{number}.0.2/24 dev peer{number}\n"
                f"ip addr add 2001:db8:{number}::2/64 dev peer{number} nodad\n"
                f"ip link set peer{number} up",
            )
        shell(internet, f"ip addr add {REMOTE} dev lo; ip addr add {REMOTE6} dev lo nodad")
        shell(
            lan,
            "ip addr add 10.2.0.9/24 dev peer2; ip addr add 2001:db8:2::9/64 dev peer2 nodad\n"
            "ip link set peer2 up; ip route add default via 10.2.0.1\n"
            "ip -6 route add default via 2001:db8:2::1",
        )
        yield Network(gateway, lan, internet)


def udp(where: Namespace, address: str = REMOTE) -> socket.socket:
    with where.enter():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM)
    made.settimeout(10)
    return made


def exchange(client: socket.socket, server: socket.socket) -> str:
    """A packet there and back again; the address the server has seen it come from."""
    client.sendto(b"there", server.getsockname())
    _, source = server.recvfrom(100)
    server.sendto(b"back", source)
    assert client.recv(100) == b"back"
    return str(source[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_flows_that_nobody_classifies_pass_as_direct_and_are_counted_once(
    network: Network, variant: Variant
) -> None:
    network.apply(variant)
    with network.server() as server, udp(network.lan) as client:
        for _ in range(3):  # unanswered, so that each of them is of a NEW flow to conntrack
            client.sendto(b"there", server.getsockname())
            assert server.recvfrom(100)[1][0] == "10.0.0.1"
        assert exchange(client, server) == "10.0.0.1"
    with network.server(REMOTE6) as server, udp(network.lan, REMOTE6) as client:
        assert exchange(client, server) == "2001:db8::1"
    with network.gateway.enter():
        assert unclassified(variant) == 2
    marks = network.gateway.run(["conntrack", "-L", "-p", "udp", "--dport", "7"]).stdout
    assert f"mark={0x3F00} " in marks


def test_the_count_of_unclassified_flows_outlives_a_second_start(network: Network) -> None:
    network.apply()
    with network.server() as server, udp(network.lan) as client:
        exchange(client, server)
    network.apply()
    with network.gateway.enter():
        assert unclassified() == 1


def test_legacy_rules_are_read_while_another_program_holds_their_lock(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the looks and for status; iptables itself waits for as long as the other holds it."""
    network.apply("legacy")
    lock = tmp_path / "xtables.lock"
    monkeypatch.setenv("XTABLES_LOCKFILE", str(lock))
    monkeypatch.setattr(programs, "TIMEOUT", 5.0)
    with lock.open("w") as held, network.gateway.enter():
        fcntl.flock(held, fcntl.LOCK_EX)
        assert unclassified("legacy") == 0
        assert reading.read("legacy").firewall.queued_to == {0}


def test_a_marked_socket_leaves_by_that_uplink_with_its_address(network: Network) -> None:
    shell(network.gateway, STRICT)
    network.apply()
    with network.server() as server, udp(network.gateway) as client:
        client.setsockopt(socket.SOL_SOCKET, SO_MARK, 0x200)
        assert exchange(client, server) == "10.1.0.1"
    with network.server(REMOTE6) as server, udp(network.gateway, REMOTE6) as client:
        client.setsockopt(socket.SOL_SOCKET, SO_MARK, 0x200)
        assert exchange(client, server) == "2001:db8:1::1"


def test_a_socket_bound_to_the_interface_of_an_uplink_leaves_by_it(network: Network) -> None:
    shell(network.gateway, STRICT)
    network.apply()
    for address, seen in ((REMOTE, "10.1.0.1"), (REMOTE6, "2001:db8:1::1")):
        with network.server(address) as server, udp(network.gateway, address) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1")
            assert exchange(client, server) == seen


def test_a_socket_bound_to_a_second_address_of_an_uplink_keeps_it(network: Network) -> None:
    shell(network.gateway, f"{STRICT}ip addr add 10.1.0.77/24 dev eth1")
    network.apply()
    with network.server() as server, udp(network.gateway) as client:
        client.bind(("10.1.0.77", 0))
        assert exchange(client, server) == "10.1.0.77"


def test_an_uplink_without_a_route_is_unreachable_rather_than_another_uplink(
    network: Network,
) -> None:
    network.apply()
    shell(network.gateway, "ip route flush table 20802; ip -6 route flush table 20802")
    # Whatever their source: of a classified packet it is that of the uplink it has left.
    for address, source in (
        (REMOTE, ""),
        (REMOTE, "10.0.0.1"),
        (REMOTE6, ""),
        (REMOTE6, "2001:db8::1"),
    ):
        with network.server(address) as server, udp(network.gateway, address) as client:
            client.bind((source, 0))
            client.setsockopt(socket.SOL_SOCKET, SO_MARK, 0x200)
            with pytest.raises(OSError, match=r"unreachable|No route"):
                client.sendto(b"there", server.getsockname())


def test_answers_pass_a_strict_filter_with_no_default_route_in_main(network: Network) -> None:
    shell(network.gateway, f"{STRICT}ip route del default")
    network.apply()
    # In the place of a classifier: it puts the mark on the first packet of a flow.
    shell(
        network.gateway,
        "iptables-nft -t mangle -I nfqc-queue -s 10.2.0.9 -j MARK --set-xmark 0x200/0x3f00\n"
        "iptables-nft -t mangle -I nfqc-queue 2 -j ACCEPT",
    )
    with network.server() as server, udp(network.lan) as client:
        assert exchange(client, server) == "10.1.0.1"
        assert exchange(client, server) == "10.1.0.1"


def test_a_flow_that_comes_in_on_an_uplink_is_answered_there(network: Network) -> None:
    shell(network.gateway, STRICT)
    network.apply()
    with udp(network.internet) as client, udp(network.gateway) as server:
        client.bind((REMOTE, 0))
        server.bind(("", 7))  # to no address: which one it answers from is not its choice
        client.sendto(b"there", ("10.1.0.1", 7))
        _, source = server.recvfrom(100)
        assert source[0] == REMOTE
    shell(network.gateway, "sysctl -qw net.ipv4.conf.all.log_martians=1")
    entry = network.gateway.run(["conntrack", "-L", "-p", "udp", "--dport", "7"]).stdout
    assert f"mark={0x200} " in entry


def test_neighbour_discovery_link_local_and_multicast_are_never_queued(network: Network) -> None:
    shell(network.lan, "ip link set peer2 addrgenmode eui64; ip link set peer2 down")
    shell(network.lan, "ip link set peer2 up; ip -6 addr add 2001:db8:2::9/64 dev peer2 nodad")
    shell(network.lan, "ip -6 route add default via 2001:db8:2::1")
    shell(network.gateway, "ip -6 addr add fe80::1/64 dev eth2 nodad")
    network.apply()
    shell(network.lan, "ip -6 neigh flush dev peer2")
    with udp(network.lan, REMOTE6) as client, udp(network.gateway, REMOTE6) as server:
        server.bind(("::", 9))
        link = network.lan.run(["ip", "-o", "link", "show", "peer2"]).stdout
        index = int(link.split(":")[0])
        client.sendto(b"neighbour", ("2001:db8:2::1", 9))  # has to be discovered first
        assert server.recv(100) == b"neighbour"
        client.sendto(b"link-local", ("fe80::1", 9, 0, index))
        assert server.recv(100) == b"link-local"
        client.sendto(b"multicast", ("ff02::1", 9, 0, index))
        assert server.recv(100) == b"multicast"
    saved = network.gateway.run(["ip6tables-nft-save", "-c", "-t", "mangle"]).stdout
    [queue] = [line for line in saved.splitlines() if "-j NFQUEUE" in line]
    assert queue.startswith("[0:0] ")
    marks = network.gateway.run(["conntrack", "-L", "-f", "ipv6"]).stdout
    assert "dst=fe80::1" not in marks or "mark=0 " in marks


def test_unmarked_packets_are_routed_as_before(network: Network) -> None:
    shell(
        network.gateway,
        "ip rule add pref 30000 from 10.2.0.0/16 lookup 300\n"
        "ip route add 10.1.0.0/16 via 10.3.0.2 table 300\n"
        "ip route add 10.77.0.0/16 via 10.1.0.2",
    )
    queries = [
        f"ip route get {to} from 10.2.0.9 iif eth2" for to in ("10.1.0.5", "10.77.0.1", REMOTE)
    ] + [f"ip route get {to}" for to in ("10.1.0.5", "10.77.0.1", REMOTE, "10.2.0.9")]
    shell(network.gateway, "sysctl -qw net.ipv4.ip_forward=1")
    before = [shell(network.gateway, query) for query in queries]
    network.apply()
    assert [shell(network.gateway, query) for query in queries] == before


def test_specific_routes_of_main_come_before_the_marks(network: Network) -> None:
    network.apply()
    lan = shell(network.gateway, "ip route get 10.2.0.9 mark 0x200")
    assert "dev eth2" in lan
    assert "dev eth1 table 20802" in shell(network.gateway, f"ip route get {REMOTE} mark 0x200")
    # Also for a socket that has an uplink's address, as for an answer to the LAN from there.
    assert "dev eth2" in shell(network.gateway, "ip route get 10.2.0.9 from 10.1.0.1")
