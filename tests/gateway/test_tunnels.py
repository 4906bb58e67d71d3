"""A tunnel as uplink, over another uplink: what the tunnel sends never enters it again."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from host_service import HostService, eventually, running
from host_snapshots import shell
from pyroute2 import WireGuard

from classifier.host import reading
from classifier.host.snapshot import Link
from classifier.lab.namespace import Namespace

REMOTE, ENDPOINT, OTHER_ENDPOINT = "203.0.113.9", "198.51.100.7", "198.51.100.8"
WIRED, VPN = "192.0.2.2", "10.99.0.2"
"""The gateway's address on an uplink: what a flow placed there is seen to come from."""

NONE = (0, 0)

CONFIG = """
[gateway]
lan = ["lan0"]
[uplinks.vpn]
interface = "vxlan0"
gateway = "10.99.0.1"
[uplinks.wired]
interface = "eth0"
gateway = "192.0.2.1"
[balancers.all]
uplinks = ["vpn", "wired"]
[[rules]]
name = "the rest"
use = "all"
"""
VPN_MARK, WIRED_MARK = 0x100, 0x200

# What enters the tunnel and is of a tunnel itself, counted after all chains of ours.
_COUNTER = """
table inet watch {
    counter again { }
    chain leaving {
        type filter hook postrouting priority 400; policy accept;
        oifname "vxlan0" udp dport 4789 counter name again
    }
}
"""


# Before our chains, on each packet that the tunnel sends.
_MARKED = """
table ip marked {{
    chain sent {{
        type filter hook output priority -160; policy accept;
        udp dport 4789 ct mark set {mark}
    }}
}}
"""


@dataclass
class Network:
    gateway: Namespace
    lan: Namespace
    internet: Namespace
    ports: Iterator[int] = field(default_factory=lambda: iter(range(10000, 30000)))

    @property
    def entered_again(self) -> int:
        """Packets of a tunnel that were sent into the tunnel."""
        listed = self.gateway.run(["nft", "-j", "list", "counter", "inet", "watch", "again"])
        [counter] = [i["counter"] for i in json.loads(listed.stdout)["nftables"] if "counter" in i]
        return int(counter["packets"])

    @property
    def circular(self) -> int:
        """Packets that the tunnel itself refused: its own route to the endpoint was itself."""
        [link] = json.loads(self.gateway.run(["ip", "-j", "-s", "link", "show", "vxlan0"]).stdout)
        return int(link["stats64"]["tx"]["collisions"])

    @contextmanager
    def client(self, where: Namespace | None = None) -> Iterator[socket.socket]:
        with (where or self.lan).enter():
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with made:
            made.settimeout(5)
            yield made

    def came_from(self, flows: int, where: Namespace | None = None) -> Counter[str]:
        """Begin flows to the remote one by one; the addresses that it has seen them come from."""
        seen: Counter[str] = Counter()
        for _ in range(flows):
            with self.client(where) as client:
                # A port that was used before would be a flow that exists already.
                client.bind(("0.0.0.0", next(self.ports)))
                client.sendto(b"?", (REMOTE, 7))
                seen[client.recv(100).decode()] += 1
        return seen

    @property
    def loops(self) -> tuple[int, int]:
        return self.entered_again, self.circular

    def mark_outer_connections(self, mark: int) -> None:
        """As if their mark had been saved when the policy, or the endpoint, was another."""
        self.gateway.run(["nft", "-f", "-"], input=_MARKED.format(mark=mark))


@pytest.fixture
def network() -> Iterator[Network]:
    with (
        Namespace.create("gateway") as gateway,
        Namespace.create("lan") as lan,
        Namespace.create("internet") as internet,
    ):
        for near, far, there in (("eth0", "peer0", internet), ("lan0", "eth0", lan)):
            place = f"/proc/self/fd/{there.fileno()}"
            pair = ["type", "veth", "peer", "name", far, "netns", place]
            gateway.run(["ip", "link", "add", near, *pair], pass_fds=[there.fileno()])
        shell(
            internet,
            f"""
            ip addr add 192.0.2.1/24 dev peer0; ip link set peer0 up
            for address in {REMOTE} {ENDPOINT} {OTHER_ENDPOINT}; do
                ip addr add $address dev lo
            done
            for end in {ENDPOINT} {OTHER_ENDPOINT}; do
                id=$((${{end##*.}} * 10))
                ip link add far$id type vxlan id $id local $end remote {WIRED} dstport 4789
            done
            ip link set far70 address 02:00:00:00:99:01 up
            ip link set far80 address 02:00:00:00:99:01 up
            ip addr add 10.99.0.1/24 dev far70
            """,
        )
        shell(
            lan,
            "ip addr add 10.1.0.9/24 dev eth0; ip link set eth0 up\n"
            "ip route add default via 10.1.0.1",
        )
        shell(
            gateway,
            f"""
            ip addr add 10.1.0.1/24 dev lan0; ip link set lan0 up
            ip addr add {WIRED}/24 dev eth0; ip link set eth0 up
            ip route add default via 192.0.2.1
            ip link add vxlan0 type vxlan id 70 remote {ENDPOINT} dstport 4789
            ip addr add {VPN}/24 dev vxlan0; ip link set vxlan0 up
            """,
        )
        gateway.run(["nft", "-f", "-"], input=_COUNTER)
        with answering(internet):
            yield Network(gateway, lan, internet)


@contextmanager
def answering(where: Namespace) -> Iterator[None]:
    """The remote answers each packet with the address that it came from."""
    with where.enter():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        last = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, last:
        server.bind((REMOTE, 7))
        thread = threading.Thread(target=_tell_sources, args=(server,))
        thread.start()
        try:
            yield
        finally:
            last.sendto(b"", (REMOTE, 7))
            thread.join()


def _tell_sources(server: socket.socket) -> None:
    """Answer each packet with the address that it came from, until an empty one comes."""
    while True:
        asked, source = server.recvfrom(100)
        if not asked:
            return
        server.sendto(source[0].encode(), source)


@pytest.fixture
def service(network: Network, tmp_path: Path) -> Iterator[HostService]:
    with running(network.gateway, tmp_path / "service", CONFIG) as started:
        yield started


def test_flows_on_the_tunnel_arrive_at_its_far_end(network: Network, service: HostService) -> None:
    assert network.came_from(20) == {VPN: 10, WIRED: 10}
    assert network.came_from(20, network.gateway) == {VPN: 10, WIRED: 10}
    assert network.loops == NONE


def test_connections_that_are_forgotten_while_the_tunnel_carries_traffic_make_no_loop(
    network: Network, service: HostService
) -> None:
    for forget in (["conntrack", "-D", "-p", "udp"], ["conntrack", "-F"]):
        with network.client() as first, network.client() as second:
            for _ in range(10):
                for client in (first, second):
                    client.sendto(b"?", (REMOTE, 7))
                    client.recv(100)
                network.gateway.run(forget)
    assert network.loops == NONE
    assert sum(network.came_from(10).values()) == 10


@pytest.mark.parametrize("mark", [0, VPN_MARK, WIRED_MARK])
def test_a_mark_that_was_saved_before_does_not_lead_the_tunnel_into_itself(
    network: Network, service: HostService, mark: int
) -> None:
    network.mark_outer_connections(mark)
    assert network.came_from(20) == {VPN: 10, WIRED: 10}
    assert network.loops == NONE


def test_a_tunnel_without_any_way_out_is_not_led_into_itself(
    network: Network, service: HostService
) -> None:
    network.mark_outer_connections(VPN_MARK)
    # The neighbour is known, so that marked packets do not wait for an unmarked question.
    shell(
        network.gateway,
        """
        ip neigh replace 10.99.0.1 lladdr 02:00:00:00:99:01 dev vxlan0 nud permanent
        ip route del default
        """,
    )
    with network.client() as client:
        for _ in range(20):
            client.sendto(b"?", (REMOTE, 7))
    assert network.loops == NONE


def test_a_tunnel_does_not_stand_in_for_main_s_default_route_to_its_own_endpoint(
    network: Network, service: HostService
) -> None:
    """It asks for its neighbour in packets without a mark, and is the first uplink of the file."""
    shell(network.gateway, "ip route del default; ip neigh flush dev vxlan0")
    for where in (network.lan, network.gateway) * 5:
        with network.client(where) as client:
            client.sendto(b"?", (REMOTE, 7))
    learned = "ip neigh show dev vxlan0 | grep -c lladdr || true"
    eventually(lambda: shell(network.gateway, learned) == "1\n", "the question is answered")
    assert network.loops == NONE


def test_the_endpoint_is_reached_outside_of_the_tunnel_by_everybody(
    network: Network, service: HostService
) -> None:
    with network.internet.enter():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server:
        server.bind((ENDPOINT, 9))
        server.settimeout(5)
        for where in (network.lan, network.gateway) * 4:
            with network.client(where) as client:
                client.sendto(b"?", (ENDPOINT, 9))
                assert server.recvfrom(100)[1][0] == WIRED
    status = json.loads(service.status("--json").stdout)
    assert [uplink["flows"] for uplink in status["uplinks"].values()] == [0, 0]


@pytest.mark.parametrize(
    "change",
    [
        f"ip link set vxlan0 type vxlan remote {OTHER_ENDPOINT}",
        f"""
        ip link del vxlan0
        ip link add vxlan0 type vxlan id 80 remote {OTHER_ENDPOINT} dstport 4789
        ip addr add {VPN}/24 dev vxlan0; ip link set vxlan0 up
        """,
    ],
    ids=["changed", "made anew"],
)
def test_an_endpoint_that_changes_is_followed(
    network: Network, service: HostService, change: str
) -> None:
    assert network.came_from(4) == {VPN: 2, WIRED: 2}
    id = "80" if "del" in change else "70"
    shell(
        network.internet,
        f"""
        ip link del far70; ip link del far80
        ip link add far type vxlan id {id} local {OTHER_ENDPOINT} remote {WIRED} dstport 4789
        ip link set far address 02:00:00:00:99:01 up; ip addr add 10.99.0.1/24 dev far
        """,
    )
    shell(network.gateway, change)

    def followed() -> bool:
        rules = network.gateway.run(["ip", "rule"]).stdout
        return OTHER_ENDPOINT in rules and f"{ENDPOINT} " not in rules

    eventually(followed, "the rules name the new endpoint and not the old one")
    eventually(
        lambda: "default" in shell(network.gateway, "ip route show table 20801"),
        "the tunnel takes flows again",
    )
    before = network.loops  # until the change was noticed; docs/operations.md says so
    network.mark_outer_connections(VPN_MARK)
    eventually(lambda: network.came_from(2)[VPN] > 0, "a flow on the tunnel")
    assert network.loops == before


@pytest.mark.parametrize("bound", ["local 192.0.3.2", "dev eth1"])
def test_a_tunnel_that_was_made_over_one_uplink_stays_on_it(
    network: Network, tmp_path: Path, bound: str
) -> None:
    with Namespace.create("other internet") as other:
        pair = ["type", "veth", "peer", "name", "peer1", "netns", f"/proc/self/fd/{other.fileno()}"]
        network.gateway.run(["ip", "link", "add", "eth1", *pair], pass_fds=[other.fileno()])
        shell(
            other,
            f"""
            ip addr add 192.0.3.1/24 dev peer1; ip link set peer1 up
            ip addr add {ENDPOINT} dev lo; ip addr add {REMOTE} dev lo
            ip link add far type vxlan id 70 local {ENDPOINT} remote 192.0.3.2 dstport 4789
            ip link set far address 02:00:00:00:99:01 up; ip addr add 10.99.0.1/24 dev far
            """,
        )
        shell(
            network.gateway,
            f"""
            ip addr add 192.0.3.2/24 dev eth1; ip link set eth1 up
            ip link del vxlan0
            ip link add vxlan0 type vxlan id 70 remote {ENDPOINT} dstport 4789 {bound}
            ip addr add {VPN}/24 dev vxlan0; ip link set vxlan0 up
            """,
        )
        wifi = '[uplinks.wifi]\ninterface = "eth1"\ngateway = "192.0.3.1"\n[balancers.all]'
        config = CONFIG.replace("[balancers.all]", wifi)
        with running(network.gateway, tmp_path / "service", config), answering(other):
            assert network.came_from(20) == {VPN: 10, WIRED: 10}
            assert network.loops == NONE


def test_everything_for_tunnels_is_gone_after_the_stop(network: Network, tmp_path: Path) -> None:
    before = shell(network.gateway, "ip rule; iptables-save -t mangle")
    with running(network.gateway, tmp_path / "service", CONFIG):
        assert f"to {ENDPOINT} " in shell(network.gateway, "ip rule")
    assert "nfqc" not in before
    after = shell(network.gateway, "ip rule; iptables-save -t mangle")
    assert ENDPOINT not in after
    assert "proto 78" not in after


_LINKS = f"""
ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up
ip link add v4 type vxlan id 1 remote {ENDPOINT} dstport 4789
ip link add v6 type vxlan id 2 remote 2001:db8::7 dstport 4790
ip link add any type vxlan id 3 dstport 4791
ip link add br0 type bridge
ip link set v4 master br0
ip link set v6 master br0
ip link add link br0 name above type macvlan
"""


def test_the_kinds_and_endpoints_of_links_are_read(host: Namespace) -> None:
    shell(host, _LINKS)
    with host.enter():
        links = {link.name: link for link in reading.read().links}

    def found(name: str) -> tuple[str, tuple[str, ...]]:
        link: Link = links[name]
        return link.kind, link.endpoints

    both = (ENDPOINT, "2001:db8::7")
    assert found("v4") == ("vxlan", (ENDPOINT,))
    assert found("v6") == ("vxlan", ("2001:db8::7",))
    assert found("any") == ("vxlan", ())
    assert found("br0") == ("bridge", both)
    assert found("above") == ("macvlan", both)
    assert found("d0") == ("veth", ())
    assert found("lo") == ("", ())


@pytest.mark.parametrize("mode", ["tun", "tap"])
def test_a_tunnel_of_a_program_is_known_as_one(host: Namespace, mode: str) -> None:
    if not Path("/dev/net/tun").exists():
        pytest.skip("there is no /dev/net/tun here")
    host.run(["ip", "tuntap", "add", "tunnel9", "mode", mode])
    with host.enter():
        [link] = [link for link in reading.read().links if link.name == "tunnel9"]
    assert (link.kind, link.endpoints) == ("tun", ())


_OTHER_KINDS = {
    "gre": f"remote {ENDPOINT}",
    "gretap": f"remote {ENDPOINT}",
    "ip6gre": "remote 2001:db8::7",
    "ipip": f"remote {ENDPOINT}",
    "sit": f"remote {ENDPOINT}",
    "ip6tnl": "remote 2001:db8::7",
    "geneve": f"id 5 remote {ENDPOINT}",
    "wireguard": "",
}


@pytest.mark.parametrize("kind", _OTHER_KINDS)
def test_a_tunnel_made_by_this_kernel_is_read(host: Namespace, kind: str) -> None:
    add = ["ip", "link", "add", "tunnel9", "type", kind, *_OTHER_KINDS[kind].split()]
    made = host.run(add, check=False)
    if made.returncode != 0:
        pytest.skip(f"this kernel has no {kind}: {made.stderr.strip()}")
    remote = "2001:db8::7" if kind in ("ip6gre", "ip6tnl") else ENDPOINT
    with host.enter():
        if kind == "wireguard":
            with WireGuard() as netlink:
                key = base64.b64encode(bytes(32)).decode()
                endpoint = {"endpoint_addr": remote, "endpoint_port": 51820}
                netlink.set("tunnel9", peer={"public_key": key, **endpoint})
        [link] = [link for link in reading.read().links if link.name == "tunnel9"]
    assert (link.kind, link.endpoints) == (kind, (remote,))
