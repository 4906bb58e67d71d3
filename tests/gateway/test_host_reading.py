"""A look at the host costs what a plan needs of it, however much else is there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from host_snapshots import make_host, shell
from pyroute2 import IPRoute

from classifier.host import kernel_routes, messages, reading, sysctls
from classifier.host.iptables import basechains
from classifier.host.snapshot import Snapshot
from classifier.lab.namespace import Namespace
from classifier.queue.binding import bind
from classifier.queue.packet_queue import QueueSettings

# Of every kind that the kernel tells, in tables of all sizes.
ROUTES = """
ip route add default via 10.1.0.2 metric 500
ip route add default dev eth2 metric 600
ip -6 route add default via 2001:db8:1::2 metric 5000
ip route add default via 10.1.0.2 table 100
ip route add default via 10.1.0.2 table 20801 proto 78
ip -6 route add default via 2001:db8::2 table 20801 proto 78
ip route add 192.0.2.0/25 via 10.1.0.2 table 20802
ip route add 192.0.2.128/25 via 10.1.0.2 table 21000 proto bird
ip route add 192.0.2.0/28 via 10.1.0.2 table 200 proto 78
ip route add 192.0.2.128/26 via 10.1.0.2 table 21100 proto bird
ip route add 198.51.100.0/24 via 10.1.0.2 proto bird
ip -6 route add 2001:db8:99::/48 via 2001:db8::2 proto bird
ip route add 198.51.101.0/24 via inet6 2001:db8:1::2 dev eth1
ip route add 198.51.102.0/24 dev eth2
ip route add 198.51.103.0/24 dev eth2 scope global
ip route add 198.51.104.0/24 nexthop dev eth1 nexthop dev eth2
ip route add 198.51.105.0/24 nexthop via 10.1.0.2 nexthop via 10.2.0.2
ip -6 route add 2001:db8:98::/48 nexthop via 2001:db8:1::2 nexthop via 2001:db8:2::2
ip -6 route add 2001:db8:97::/48 dev eth1
ip route add blackhole 198.51.106.0/24
ip route add unreachable default metric 9999
ip route add prohibit 198.51.107.0/24 proto 78
ip nexthop add id 7 via 10.1.0.2 dev eth1
ip nexthop add id 8 dev eth1
ip route add 198.51.108.0/24 nhid 7
ip route add 198.51.109.0/24 nhid 8
ip nexthop add id 9 group 7
ip route add 198.51.110.0/24 nhid 9
"""
LEARNED = """
for ((i = 0; i < 2000; i++)); do
    echo route add 172.16.$((i / 256)).$((i % 256)) via 10.0.0.2 proto bird
    echo route add 172.17.$((i / 256)).$((i % 256)) dev eth1 table 333 proto bird
    echo route add 172.18.$((i / 256)).$((i % 256)) nexthop via 10.0.0.2 nexthop via 10.1.0.2
done | ip -batch -
for ((i = 0; i < 2000; i++)); do echo route add 2001:db8:5:$i:: via 2001:db8::2; done |
    ip -6 -batch -
"""


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


def read(host: Namespace) -> Snapshot:
    with host.enter():
        return reading.read()


def wholly_decoded(host: Namespace) -> dict[str, Any]:
    """The same of a snapshot, by pyroute2 from every route there is."""
    with host.enter(), IPRoute() as netlink:
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in netlink.get_links()}
        routes = [route for family in (2, 10) for route in netlink.get_routes(family=family)]
    main = [route for route in routes if messages.is_main(route)]
    return {
        "defaults": [d for route in main for d in messages.default_routes(route, names)],
        "connected": [c for route in main for c in messages.connected(route, names)],
        "routes": [messages.kernel_route(r, names) for r in routes if messages.concerns_us(r)],
    }


def test_of_routes_everything_is_found_that_decoding_them_all_finds(host: Namespace) -> None:
    shell(host, ROUTES)
    found, expected = read(host), wholly_decoded(host)
    assert list(found.defaults) == expected["defaults"]
    assert list(found.connected) == expected["connected"]
    assert list(found.routes) == expected["routes"]
    assert [r.message for r in found.routes] == [r.message for r in expected["routes"]]
    interfaces = {c.interface for c in found.connected if c.destination == "198.51.104.0/24"}
    assert interfaces == {"eth1", "eth2"}
    assert {r.route.table for r in found.routes} == {20801, 20802, 21000, 200, 254}


def test_routes_that_a_router_has_learned_are_not_decoded(
    host: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell(host, ROUTES)
    decoded = counted(monkeypatch)
    before = read(host)
    few = len(decoded)
    shell(host, LEARNED)
    decoded.clear()
    assert read(host) == before
    assert len(decoded) == few


def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The routes that are decoded from here on."""
    seen: list[bytes] = []
    really = kernel_routes._decoded

    def decoded(message: bytes, *kind: type[Any]) -> Any:
        seen.append(message)
        return really(message, *kind)

    monkeypatch.setattr(kernel_routes, "_decoded", decoded)
    return seen


def test_sysctls_of_interfaces_are_what_the_files_under_proc_say(host: Namespace) -> None:
    shell(
        host,
        """
        ip link add odd.name type veth peer name small
        ip link set small mtu 1000   # too small for IPv6, which leaves it
        sysctl -qw net.ipv4.conf.eth0.rp_filter=2 net.ipv4.conf.eth1.src_valid_mark=1
        sysctl -qw net.ipv4.conf.eth2.forwarding=1 net.ipv6.conf.eth2.forwarding=1
        sysctl -qw net.ipv6.conf.eth0.accept_ra=2 net.ipv6.conf.eth1.accept_ra=0
        sysctl -qw net.ipv6.conf.eth1.disable_ipv6=1 net.ipv4.conf.default.rp_filter=1
        """,
    )
    found = read(host)
    names = {4: ("rp_filter", "src_valid_mark", "forwarding"), 6: ("accept_ra", "forwarding")}
    with host.enter():
        keys = [
            f"net/ipv{family}/conf/{where}/{name}"
            for family, some in names.items()
            for name in some
            for where in ("all", "default", *(link.name for link in found.links))
        ]
        there = {key: value for key in keys if (value := sysctls.read(key)) is not None}
    assert there.items() <= found.sysctls.items()
    assert {*found.sysctls} - {*there} == {sysctls.FORWARD4, sysctls.REDIRECTS4}
    assert "net/ipv4/conf/odd.name/rp_filter" in there
    assert "net/ipv6/conf/small/accept_ra" not in there
    assert {link.name for link in found.links if not link.ipv6} == {"eth1", "small"}


def test_addresses_are_told_with_their_prefix_and_only_global_ones(host: Namespace) -> None:
    shell(
        host,
        """
        ip addr add 10.8.0.1 peer 10.8.0.2/32 dev eth1
        ip addr add 169.254.7.1/16 dev eth1 scope link
        ip -6 addr add fe80::7/64 dev eth1
        """,
    )
    eth1 = read(host).link("eth1")
    assert eth1 is not None
    assert set(eth1.addresses) == {"10.1.0.1/24", "10.8.0.1/32", "2001:db8:1::1/64"}


def test_a_list_that_changes_while_it_is_told_is_asked_for_again(host: Namespace) -> None:
    """Two links come and go together: each list is one that was true at a moment."""
    script = "while :; do ip link add pair0 type veth peer name pair1; ip link del pair0; done"
    with host.popen(["bash", "-c", script]) as changing:
        try:
            for _ in range(50):
                names = [link.name for link in read(host).links]
                assert len(names) == len(set(names))
                assert ("pair0" in names) == ("pair1" in names)
        finally:
            changing.terminate()


def test_who_binds_a_queue_is_looked_for_only_where_it_can_be_told(
    host: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a look at every open file of every process."""
    with host.enter(), bound(3):
        first = reading.read()
        assert [(q.number, str(os.getpid()) in q.owner) for q in first.queues] == [(3, True)]
        monkeypatch.setattr(Path, "iterdir", nothing_to_look_for)
        again = reading.read(previous=first)
        assert [queue.number for queue in again.queues] == [3]
        assert reading.read(ours_only=True).queues == again.queues


@contextmanager
def bound(number: int) -> Iterator[None]:
    with closing(bind(number, QueueSettings()).socket):
        yield


def nothing_to_look_for(folder: Path) -> Iterator[Path]:
    raise AssertionError(f"{folder} was looked through")


def test_tables_and_chains_of_nftables_are_those_that_nft_lists(host: Namespace) -> None:
    shell(
        host,
        """
        iptables-nft -t mangle -N other; ip6tables-nft -t nat -N six
        nft add table inet empty; nft add table bridge br; nft add chain bridge br c
        nft add table netdev dev
        nft 'add chain inet empty in { type filter hook input priority 0; policy drop; }'
        """,
    )
    with host.enter():
        found = basechains.nft_chains()
    listed = json.loads(host.run(["nft", "-j", "list", "ruleset"]).stdout)["nftables"]
    tables = [entry["table"] for entry in listed if "table" in entry]
    chains = [entry["chain"] for entry in listed if "chain" in entry]
    assert {(c.family, c.table) for c in found if not c.name} == {
        (table["family"], table["name"]) for table in tables
    }
    assert {(c.family, c.table, c.name, c.hooked) for c in found if c.name} == {
        (chain["family"], chain["table"], chain["name"], "hook" in chain) for chain in chains
    }
    assert {c.family for c in found} == {"ip", "ip6", "inet", "bridge", "netdev"}
