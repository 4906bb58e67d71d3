"""Where a tunnel's packets go: read from netlink messages, and what a plan makes of it.

The messages are made by hand, byte by byte, as <linux/rtnetlink.h>, <linux/if_tunnel.h> and
<linux/wireguard.h> say: this machine's kernel has no GRE, IPIP, SIT or WireGuard.
"""

from __future__ import annotations

import dataclasses
import socket
import struct
from ipaddress import ip_network
from typing import Any

import pytest
from pyroute2.netlink.generic.wireguard import wgmsg

from classifier.host import kernel_links
from classifier.host.endpoints import endpoints, peers
from classifier.host.iptables.chains import chains
from classifier.host.iptables.snapshot import FirewallSnapshot
from classifier.host.kernel_links import KernelLink
from classifier.host.plan import plan
from classifier.host.snapshot import Connected, Link, Snapshot
from classifier.host.state import table_of
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Uplink

V4, V6 = "198.51.100.7", "2001:db8::7"
_NESTED = 0x8000  # NLA_F_NESTED
IFLA_IFNAME, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO, IFLA_LINK_NETNSID = 3, 5, 10, 18, 37
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2


def attribute(number: int, value: bytes) -> bytes:
    padding = b"\0" * (-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), number) + value + padding


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def link(index: int, name: str, info: str = "", data: bytes = b"", more: bytes = b"") -> KernelLink:
    body = attribute(IFLA_IFNAME, name.encode() + b"\0") + more
    if info:
        inner = attribute(IFLA_INFO_KIND, info.encode() + b"\0")
        body += attribute(IFLA_LINKINFO, inner + attribute(IFLA_INFO_DATA, data))
    body = struct.pack("=BxHiII", 0, 1, index, 0x1, 0) + body
    return kernel_links.link(struct.pack("=IHHII", 16 + len(body), 16, 0, 1, 1) + body)


def number(value: int) -> bytes:
    return struct.pack("=I", value)


# Kind, number of the attribute, remote: IFLA_GRE_REMOTE and so on.
TUNNELS = [
    ("gre", 7, V4),
    ("gretap", 7, V4),
    ("ip6gre", 7, V6),
    ("ip6gretap", 7, V6),
    ("ipip", 3, V4),
    ("sit", 3, V4),
    ("ip6tnl", 3, V6),
    ("vti", 5, V4),
    ("vti6", 5, V6),
    ("vxlan", 2, V4),
    ("vxlan", 16, V6),
    ("geneve", 2, V4),
    ("geneve", 7, V6),
]


@pytest.mark.parametrize(("info", "place", "remote"), TUNNELS)
def test_the_remote_of_a_tunnel_is_read(info: str, place: int, remote: str) -> None:
    tunnel = link(7, "tunnel", info, attribute(place, packed(remote)))
    assert tunnel.kind == info
    assert endpoints([tunnel]) == {7: (remote,)}


@pytest.mark.parametrize(("info", "place", "remote"), TUNNELS)
def test_a_tunnel_whose_remote_is_any_has_none(info: str, place: int, remote: str) -> None:
    nobody = "::" if ":" in remote else "0.0.0.0"
    assert endpoints([link(7, "tunnel", info, attribute(place, packed(nobody)))]) == {}


def test_links_that_are_no_tunnels_have_no_endpoints() -> None:
    for other in (
        link(2, "eth0"),
        link(3, "tun0", "tun"),
        link(4, "new0", "kind-of-2031", b"xyzw"),
    ):
        assert endpoints([other]) == {}
    assert link(2, "eth0").kind == ""


def test_what_stands_on_a_tunnel_has_its_endpoints() -> None:
    links = [
        link(2, "gretap1", "gretap", attribute(7, packed(V4)), attribute(IFLA_MASTER, number(3))),
        link(3, "br0", "bridge"),
        link(4, "br0.5", "vlan", more=attribute(IFLA_LINK, number(3))),
        link(5, "eth0", "vlan", more=attribute(IFLA_LINK, number(6))),
    ]
    assert endpoints(links) == {2: (V4,), 3: (V4,), 4: (V4,)}


def test_a_link_in_another_namespace_is_not_taken_for_one_of_the_same_index_here() -> None:
    elsewhere = attribute(IFLA_LINK, number(2)) + attribute(IFLA_LINK_NETNSID, number(0))
    links = [
        link(2, "gre1", "gre", attribute(7, packed(V4))),
        link(3, "macvlan0", "macvlan", more=elsewhere),
        link(4, "veth0", "veth", more=attribute(IFLA_LINK, number(2))),
    ]
    assert endpoints(links) == {2: (V4,)}


def test_links_that_lie_on_each_other_end() -> None:
    links = [
        link(2, "a", "vlan", more=attribute(IFLA_LINK, number(3))),
        link(3, "b", "vlan", more=attribute(IFLA_LINK, number(2))),
        link(4, "gre1", "gre", attribute(7, packed(V4)), attribute(IFLA_LINK, number(4))),
    ]
    assert endpoints(links) == {4: (V4,)}


def peer(endpoint: bytes | None) -> bytes:
    body = attribute(1, b"k" * 32) + attribute(5, struct.pack("=H", 25))
    if endpoint is not None:
        body += attribute(4, endpoint)
    return attribute(_NESTED | 0, body)


def device(*found: bytes) -> Any:
    body = attribute(2, b"wg0\0") + attribute(7, number(51820))
    body = struct.pack("=BBxx", 0, 1) + body + attribute(_NESTED | 8, b"".join(found))
    message = wgmsg(struct.pack("=IHHII", 16 + len(body), 30, 2, 1, 1) + body)
    message.decode()
    return message


def test_the_endpoints_of_wireguard_peers_are_read() -> None:
    v4 = struct.pack("=H", socket.AF_INET) + struct.pack("!H", 51820) + packed(V4) + b"\0" * 8
    v6 = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", 51820, 0) + packed(V6) + b"\0" * 4
    # Many peers come in several messages.
    messages = [device(peer(v4), peer(None)), device(peer(v6))]
    assert list(peers(messages)) == [V4, V6]


def test_a_wireguard_of_another_implementation_has_no_endpoints_and_is_no_error() -> None:
    # This kernel has no such link: it says ENOENT or ENODEV.
    assert endpoints([link(7, "nothere0", "wireguard")]) == {}


WIRED = Uplink("wired", 1, "eth0", "192.0.2.1")
VPN = Uplink("vpn", 2, "tunnel0")
ALL = Balancer("all", "nth", (Member("wired", 1), Member("vpn", 1)))
REST = Rule("the rest", "all")
SERVER = Rule("server", "direct")


def host(tunnel: Link, *more: Link, connected: tuple[Connected, ...] = ()) -> Snapshot:
    eth0 = Link("eth0", 2, addresses=("192.0.2.2/24",))
    return Snapshot(FirewallSnapshot("nft"), links=(eth0, tunnel, *more), connected=connected)


def policy(*rules: Rule, **gateway: Any) -> Policy:
    return Policy(Gateway(**gateway), Queue(), (WIRED, VPN), (ALL,), (*rules, REST))


def tunnel_link(info: str, *remotes: str) -> Link:
    addresses = ("10.99.0.2/24",)
    return Link("tunnel0", 3, True, True, True, addresses, kind=info, endpoints=remotes)


def to_endpoints(made: Policy, there: Snapshot) -> list[str]:
    """Before main; behind it are those for the first lookup of own packets."""
    rules = plan(made, there).rules
    return [rule.selector for rule in rules if rule.destination and rule.priority < 32766]


def test_an_endpoint_is_never_queued_and_never_routed_by_the_mark_of_its_tunnel() -> None:
    there = host(tunnel_link("gre", V4, V6))
    made = plan(policy(), there)
    rule = f"pref 20801 to {V4} fwmark 0x200/0x3f00 goto 20804"
    assert to_endpoints(policy(), there) == [rule]
    [path] = made.paths
    [queue] = [chain for chain in chains(path).chains if chain.name == "nfqc-queue"]
    assert f"-d {V4}/32 -j RETURN" in queue.rules
    assert not [warning for warning in made.warnings if "vpn" in warning]
    assert any(rule.priority == 20804 for rule in made.rules), "where the rules lead to"


def test_what_a_tunnel_sends_is_led_to_other_uplinks_where_main_has_no_route() -> None:
    there = host(tunnel_link("gre", V4))
    first = dataclasses.replace(policy(), uplinks=(VPN, WIRED))
    own = "fwmark 0x0/0x3f00 iif lo"
    assert [rule.selector for rule in plan(first, there).rules if rule.priority > 32767] == [
        f"pref 40801 {own} lookup 20801",
        f"pref 40802 to {V4} {own} unreachable",
        f"pref 40803 {own} lookup 20802",
    ]


def test_a_tunnel_of_a_program_is_never_where_own_packets_begin() -> None:
    there = host(dataclasses.replace(tunnel_link("tun"), endpoints=()))
    made = plan(dataclasses.replace(policy(), uplinks=(VPN, WIRED)), there)
    assert [rule.table for rule in made.rules if rule.priority > 32767] == [table_of(WIRED)]


def test_the_way_to_an_endpoint_may_be_another_tunnel() -> None:
    below = Link("wg0", 4, kind="wireguard", endpoints=("203.0.113.5",))
    unrelated = Link("wg1", 5, kind="wireguard", endpoints=("203.0.113.6",))
    networks = (Connected("198.51.100.0/24", "wg0"), Connected("10.8.0.0/24", "wg1"))
    there = host(tunnel_link("gre", V4), below, unrelated, connected=networks)
    assert [selector.split()[3] for selector in to_endpoints(policy(), there)] == [
        V4,
        "203.0.113.5",
    ]


def test_tunnels_that_are_no_uplinks_change_nothing() -> None:
    plain = host(tunnel_link(""))
    site = Link("wg1", 5, kind="wireguard", endpoints=("203.0.113.6",))
    assert plan(policy(), dataclasses.replace(plain, links=(*plain.links, site))) == plan(
        policy(), plain
    )


TUN = (
    "uplink vpn: tunnel0 is a tunnel of a program: add a rule"
    ' { to = [its server], use = "direct" }, or its own packets may be placed on it'
)


def network(text: str) -> tuple[Any, ...]:
    return (ip_network(text),)


@pytest.mark.parametrize(
    ("made", "warned"),
    [
        (policy(), True),
        (policy(local=False, lan=("lan0",)), False),
        (policy(dataclasses.replace(SERVER, to=network("9.9.9.9"))), False),
        (policy(dataclasses.replace(SERVER, to=network("9.9.9.9"), use="wired")), False),
        (policy(dataclasses.replace(SERVER, users=(107,))), False),
        (policy(dataclasses.replace(SERVER, to=network("9.9.9.9"), use="vpn")), True),
        (policy(dataclasses.replace(SERVER, to=network("10.0.0.0/8"))), True),
        (policy(REST, dataclasses.replace(SERVER, to=network("9.9.9.9"))), True),
        (
            policy(dataclasses.replace(SERVER, to=network("9.9.9.9"), in_interfaces=("lan0",))),
            True,
        ),
    ],
)
def test_a_tunnel_of_a_program_is_warned_of_until_a_rule_keeps_its_packets_off(
    made: Policy, warned: bool
) -> None:
    told = [
        warning for warning in plan(made, host(tunnel_link("tun"))).warnings if "vpn" in warning
    ]
    assert told == ([TUN] if warned else [])


def test_a_kernel_tunnel_without_a_remote_is_warned_of() -> None:
    [told] = [w for w in plan(policy(), host(tunnel_link("gre"))).warnings if "vpn" in w]
    assert told.startswith("uplink vpn: tunnel0 is gre without a remote: add a rule")


def test_a_wireguard_that_waits_for_its_peers_needs_no_rule() -> None:
    made = plan(policy(), host(tunnel_link("wireguard")))
    assert not [warning for warning in made.warnings if "vpn" in warning]
