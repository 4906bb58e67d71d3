"""What holds a mark bit, a priority or a table of ours is named before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from host_snapshots import (
    VARIANTS,
    WIFI,
    WIRED,
    add_foreign,
    apply_in,
    look,
    make_host,
    policy,
    shell,
)

from classifier.host.conflicts import conflicts
from classifier.host.iptables.programs import Variant
from classifier.lab.namespace import Namespace

pytestmark = pytest.mark.gateway

CONFLICTS = {
    "ip rule add pref 20802 from 192.0.2.1 lookup 9": (
        'IPv4 routing rule "pref 20802 from 192.0.2.1 lookup 9" has a priority of ours'
    ),
    "ip -6 rule add pref 20804 from all iif eth2 unreachable": (
        'IPv6 routing rule "pref 20804 iif eth2 unreachable" has a priority of ours'
    ),
    "ip rule add pref 40801 lookup 9": (
        'IPv4 routing rule "pref 40801 lookup 9" has the priority of a rule of ours'
    ),
    "ip rule add pref 99 to 192.0.2.0/24 lookup 20802": (
        'IPv4 routing rule "pref 99 lookup 20802 to 192.0.2.0" uses table 20802'
    ),
    "ip rule add pref 99 fwmark 0x1234 lookup 9": "tests mark bits that are ours",
    "ip rule add pref 99 fwmark 0x0/0xff00 lookup 9": "tests mark bits that are ours",
    "ip route add 192.0.2.0/24 via 10.0.0.2 table 20801": (
        'IPv4 route "192.0.2.0/24 via 10.0.0.2 dev eth0 table 20801 proto 3" is in table 20801'
    ),
    "ip -6 route add default via 2001:db8::2 table 20802": (
        'IPv6 route "default via 2001:db8::2 dev eth0 table 20802 proto 3" is in table 20802'
    ),
    "iptables-nft -t mangle -A FORWARD -p tcp -j MARK --set-mark 0x100": (
        'iptables-nft -t mangle rule "-A FORWARD -p tcp -j MARK --set-xmark 0x100/0xffffffff"'
        " sets mark bits 0x100"
    ),
    "ip6tables-legacy -t mangle -A INPUT -j CONNMARK --set-mark 0x3001/0xf00f": (
        'ip6tables-legacy -t mangle rule "-A INPUT -j CONNMARK --set-xmark 0x3001/0xf00f"'
        " sets mark bits 0x3000"
    ),
    "iptables-nft -t mangle -A PREROUTING -j MARK --or-mark 0x800": "sets mark bits 0x800",
    "iptables-nft -t mangle -A FORWARD -j MARK --set-mark 0x1": "clears mark bits 0x3f00",
    "iptables-nft -t mangle -N a; iptables-nft -t mangle -A a -j MARK --set-mark 0x1;"
    " iptables-nft -t mangle -A POSTROUTING -j a": 'rule "-A a -j MARK',
    "iptables-legacy -t mangle -A INPUT -j CONNMARK --set-mark 0x1": "clears mark bits 0x3f00",
    "iptables-nft -A INPUT -p udp -j NFQUEUE --queue-num 0": (
        'iptables-nft -t filter rule "-A INPUT -p udp -j NFQUEUE --queue-num 0"'
        " sends packets to queue 0, which is ours"
    ),
    "ip6tables-legacy -A FORWARD -j NFQUEUE --queue-balance 0:3": "to queue 0, which is ours",
    "nft 'add table inet t; add chain inet t c; add rule inet t c meta mark set 0x101'": (
        "nft rule inet t c handle 2 sets mark bits 0x100"
    ),
    "nft 'add table ip t; add chain ip t c; add rule ip t c ct mark set ct mark | 0x200'": (
        "nft rule ip t c handle 2 sets mark bits 0x200"
    ),
    "nft 'add table ip t; add map ip t m { type ipv4_addr : mark; };"
    " add element ip t m { 192.0.2.1 : 0x400 }; add chain ip t c;"
    " add rule ip t c meta mark set ip saddr map @m'": "sets mark bits 0x400",
    "nft 'add table ip t; add chain ip t c; add rule ip t c meta mark set"
    " jhash ip saddr mod 4 offset 0x1000'": "sets mark bits 0x1000",
}

HARMLESS = (
    "iptables-nft -t mangle -A PREROUTING -j MARK --set-mark 0x1",
    "iptables-nft -t mangle -A PREROUTING -j MARK --set-xmark 0x10000/0xff0000",
    "iptables-nft -t mangle -A PREROUTING -j CONNMARK --restore-mark",
    "iptables-nft -A INPUT -p udp -j NFQUEUE --queue-num 1",
    "iptables-nft -A FORWARD",
    "iptables-nft -A FORWARD -m comment --comment 'is -j MARK --set-xmark 0x100/0x3f00' -j ACCEPT",
    "iptables-nft -t mangle -A PREROUTING -m mark --mark 0x100/0x3f00 -j ACCEPT",
    "nft 'add table ip t; add chain ip t c; add rule ip t c meta mark set ct mark'",
    "nft 'add table ip t; add chain ip t c; add rule ip t c ct mark set meta mark and 0x3f00'",
    "ip rule add pref 99 fwmark 0x10000/0xff0000 lookup 9",
    "ip rule add pref 99 fwmark 0x1 lookup 9",
    "ip rule add pref 40000 iif lo lookup 9",
    "ip route add 192.0.2.0/24 via 10.0.0.2 table 20899",
)


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


def found(host: Namespace, variant: Variant = "nft", **gateway: object) -> list[str]:
    seen = look(host, policy(WIRED, WIFI, **gateway), variant)
    return list(conflicts(seen.policy, seen.snapshot, seen.plan))


@pytest.mark.parametrize("command", CONFLICTS)
def test_who_holds_something_of_ours_is_named(host: Namespace, command: str) -> None:
    assert found(host) == []
    shell(host, command)
    [line] = found(host)
    assert CONFLICTS[command] in line


@pytest.mark.parametrize("command", HARMLESS)
def test_what_leaves_our_bits_and_tables_alone_is_no_conflict(
    host: Namespace, command: str
) -> None:
    shell(host, command)
    assert found(host) == []


def test_all_conflicts_are_told_at_once(host: Namespace) -> None:
    commands = [command for command in CONFLICTS if not command.startswith("nft")]
    shell(host, "\n".join(commands))
    lines = found(host)
    for command in commands:
        assert [line for line in lines if CONFLICTS[command] in line], command


@pytest.mark.parametrize("variant", VARIANTS)
def test_our_own_leftovers_are_no_conflict(host: Namespace, variant: Variant) -> None:
    add_foreign(host, variant)
    apply_in(host, policy(WIRED, WIFI), variant)
    assert found(host, variant) == []


def test_another_mask_gets_out_of_the_way(host: Namespace) -> None:
    shell(host, "iptables-nft -t mangle -A FORWARD -p tcp -j MARK --set-xmark 0x100/0x100")
    assert found(host) != []
    assert found(host, mask=0x3F0000) == []
