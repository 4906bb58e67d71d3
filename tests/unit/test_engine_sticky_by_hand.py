"""Sticky entries that an operator looks up and forgets."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from classifier.engine.engine import Engine
from classifier.engine.sticky_by_hand import (
    sticky_forget,
    sticky_forget_all,
    sticky_forget_uplink,
    sticky_show,
)
from classifier.engine.sticky_entry import StickyEntry
from classifier.errors import UsageError
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Sticky, Uplink

UPLINKS = tuple(
    Uplink(name, number, f"up{number}", gateway6="auto")
    for number, name in enumerate(("wired", "wifi"), 1)
)
HOST, REMOTE = ip_address("10.0.0.5"), ip_address("8.8.8.8")
HOST6, REMOTE6 = ip_address("fd00::5"), ip_address("2001:db8::8")


def engine(**sticky: Sticky | None) -> Engine:
    """A balancer for each `by`; flows to port N go to the Nth of them."""
    members = tuple(Member(uplink.name, 1) for uplink in UPLINKS)
    balancers = tuple(Balancer(name, "nth", members, s) for name, s in sticky.items())
    rules = tuple(
        Rule(f"port {port}", balancer.name, to_ports=((port, port),))
        for port, balancer in enumerate(balancers)
    )
    return Engine(Policy(Gateway(), Queue(), UPLINKS, balancers, rules), 3)


def udp(src=HOST, dst=REMOTE, port: int = 0, flow: int = 1) -> bytes:
    addresses, ports = src.packed + dst.packed, struct.pack(">HHHH", flow, port, 8, 0)
    if src.version == 4:
        return struct.pack(">BBHHHBBH", 0x45, 0, 28, 0, 0, 64, 17, 0) + addresses + ports
    return struct.pack(">IHBB", 6 << 28, 8, 17, 64) + addresses + ports


def three() -> Engine:
    return engine(
        remotes=Sticky("remote", 100),
        hosts=Sticky("local", 200),
        pairs=Sticky("local+remote", 300),
        none=None,
    )


@pytest.mark.parametrize(("host", "remote"), [(HOST, REMOTE), (HOST6, REMOTE6)])
def test_the_uplink_shown_is_the_one_that_the_next_flow_takes(host, remote):
    e = three()
    taken = [str(e.classify(udp(host, remote, port), 1000).uplink) for port in range(4)]
    remotes = StickyEntry("remotes", "remote", taken[0], 99.5)
    hosts = StickyEntry("hosts", "local", taken[1], 199.5)
    pairs = StickyEntry("pairs", "local+remote", taken[2], 299.5)
    assert sticky_show(e, remote, 1500) == (remotes,)
    assert sticky_show(e, host, 1500) == (hosts,)
    assert sticky_show(e, remote, 1500, host) == (remotes, hosts, pairs)
    assert sticky_show(e, host, 1500, remote) == ()
    assert sticky_show(e, ip_address("8.8.8.9"), 1500) == ()


def test_showing_an_entry_does_not_make_it_live_longer():
    e = three()
    e.classify(udp(), 0)
    assert [entry.left for entry in sticky_show(e, REMOTE, 99_000)] == [1.0]
    assert sticky_show(e, REMOTE, 100_000) == ()
    assert e.classify(udp(flow=2), 99_999).reason == "sticky"


def test_a_prefix_takes_in_the_addresses_around():
    e = engine(all=Sticky(prefix4=24, prefix6=64))
    e.classify(udp(), 0)
    e.classify(udp(HOST6, REMOTE6), 0)
    assert len(sticky_show(e, ip_address("8.8.8.200"), 0)) == 1
    assert len(sticky_show(e, ip_address("2001:db8::ffff"), 0)) == 1
    assert sticky_show(e, ip_address("8.8.9.8"), 0) == ()


def test_a_remote_forgotten_by_hand_is_placed_anew_and_others_are_not():
    e = three()
    for port in range(3):
        e.classify(udp(port=port), 0)
    shown = sticky_show(e, REMOTE, 0)
    assert sticky_forget(e, REMOTE, 0) == shown
    assert sticky_show(e, REMOTE, 0) == sticky_forget(e, REMOTE, 0) == ()
    assert e.counters().sticky_entries == 2
    assert len(sticky_forget(e, REMOTE, 0, HOST)) == 2
    assert [e.classify(udp(port=p, flow=2), 0).reason for p in range(3)] == ["nth"] * 3


def test_all_entries_of_an_uplink_or_of_all_are_forgotten_by_hand_and_new_ones_remembered():
    e = three()
    remotes = [ip_address(0x08000000 + n) for n in range(100)]
    placed = [e.classify(udp(dst=remote), 0).uplink for remote in remotes]
    for remote in remotes[:10]:
        e.classify(udp(HOST6, ip_address((0x20010DB8 << 96) + int(remote))), 0)
    assert sticky_forget_uplink(e, "wifi") == placed.count("wifi") + 5
    left = [bool(sticky_show(e, remote, 0)) for remote in remotes]
    assert left == [uplink == "wired" for uplink in placed]
    assert sticky_forget_all(e) == e.counters().sticky_entries + 55 == 55
    assert [e.classify(udp(dst=r, flow=2), 0).reason for r in remotes] == ["nth"] * 100
    assert [e.classify(udp(dst=r, flow=3), 0).reason for r in remotes] == ["sticky"] * 100


def test_entries_of_an_uplink_that_is_down_are_not_shown():
    e = three()
    uplink = e.classify(udp(), 0).uplink
    e.set_usable(str(uplink), False, False)
    assert sticky_show(e, REMOTE, 0) == sticky_forget(e, REMOTE, 0) == ()


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="no uplink 'lte'"):
        sticky_forget_uplink(three(), "lte")
    with pytest.raises(UsageError, match=r"8\.8\.8\.8 and fd00::5: must both be IPv4"):
        sticky_show(three(), REMOTE, 0, HOST6)
