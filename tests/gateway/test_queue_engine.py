"""What the queue tells the engine of a packet besides its bytes: time, interface, user."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from queued import (
    NUMBER,
    UNCLASSIFIED,
    WIRED,
    Backend,
    both_backends,
    bound,
    count,
    counted,
    divert,
    reading,
    send,
    until,
)

from classifier import policy
from classifier.engine.classifier import Classifier
from classifier.engine.engine import Engine
from classifier.errors import QueueError
from classifier.lab.namespace import Namespace
from classifier.queue.nfqueue import NativeQueue

pytestmark = pytest.mark.gateway

UPLINKS = (
    policy.Uplink("wired", 1, "eth0", gateway6="auto"),
    policy.Uplink("wifi", 2, "eth1", gateway6="auto"),
)


def engine(*rules: policy.Rule, balancers: tuple[policy.Balancer, ...] = ()) -> Engine:
    gateway, queue = policy.Gateway(lan=("lo",)), policy.Queue()
    return Classifier(
        policy.Policy(gateway, queue, UPLINKS, balancers, (*rules, policy.Rule("rest", "wired"))),
        seed=7,
    ).engine


@both_backends
def test_remote_is_remembered_until_its_time_is_over(host: Namespace, backend: Backend) -> None:
    members = (policy.Member("wired", 1), policy.Member("wifi", 1))
    sticky = policy.Sticky(by="remote", timeout=600)
    by_nth = policy.Balancer("all", "nth", members, sticky)
    divert(host)
    count(host, 0x100, 0x200)
    queue = bound(host, backend, engine(policy.Rule("all", "all"), balancers=(by_nth,)))
    with reading(queue):
        for visits in range(1, 51):
            send(host, {WIRED: 1})  # from another port each time: a new flow
            until(lambda visits=visits: queue.counters().packets == visits)  # type: ignore[misc]
        queue.clock_offset += 599_000
        send(host, {WIRED: 1})
        until(lambda: queue.counters().packets == 51)
        assert counted(host) == [51, 0, 0]
        queue.clock_offset += 601_000
        send(host, {WIRED: 1})
    assert counted(host) == [51, 1, 0]


@both_backends
def test_rules_know_the_interface_a_packet_came_in_on(host: Namespace, backend: Backend) -> None:
    divert(host)
    count(host, 0x100, 0x200)
    decides = engine(policy.Rule("from lo", "wifi", in_interfaces=("lo",)))
    with host.enter():
        loopback = socket.if_nametoindex("lo")
    queue = bound(host, backend, decides)
    with reading(queue):
        send(host, {WIRED: 5})
        until(lambda: queue.counters().packets == 5)
        queue.set_interfaces({loopback + 1: 0, loopback: decides.interface_number("lo"), 7: 3})
        send(host, {WIRED: 20})
        until(lambda: queue.counters().packets == 25)
        queue.set_interfaces({})
        send(host, {WIRED: 10})
    assert counted(host) == [15, 20, 0]


def test_more_interfaces_than_the_table_holds_are_refused(host: Namespace) -> None:
    with bound(host, NativeQueue, engine()) as queue:  # type: ignore[attr-defined]
        queue.set_interfaces(dict.fromkeys(range(1, 1025), 1))
        with pytest.raises(QueueError, match="1025 interfaces are more than 1024"):
            queue.set_interfaces(dict.fromkeys(range(1, 1026), 1))


def user_as_the_kernel_tells_it() -> int:
    """Of this process, seen from outside the user namespace it may be in."""
    inside, outside, _ = map(int, Path("/proc/self/uid_map").read_text().splitlines()[0].split())
    return os.getuid() - inside + outside


@pytest.mark.parametrize("want_uid", [True, False])
def test_rules_know_the_user_of_the_gateways_own_flows_if_they_ask(
    host: Namespace, want_uid: bool
) -> None:
    divert(host, chain="OUTPUT")
    count(host, 0x100, 0x200)
    ours = policy.Rule("of this user", "wifi", users=(user_as_the_kernel_tells_it(),))
    with reading(bound(host, NativeQueue, engine(ours), want_uid=want_uid)):
        send(host, {WIRED: 10})
    assert counted(host) == ([0, 10, 0] if want_uid else [10, 0, 0])


@both_backends
def test_ipv6_takes_the_same_way(host: Namespace, backend: Backend) -> None:
    mangle = ["ip6tables", "-w", "-t", "mangle", "-A"]
    arriving = [*mangle, "PREROUTING", "-p", "udp"]
    host.run([*arriving, "-j", "MARK", "--set-mark", str(UNCLASSIFIED)])
    host.run([*arriving, "-j", "NFQUEUE", "--queue-num", str(NUMBER)])
    host.run([*mangle, "INPUT", "-p", "udp", "-m", "mark", "--mark", "0x200", "-j", "DROP"])
    six = policy.Rule("six", "wifi", family="ipv6")
    with (
        reading(bound(host, backend, engine(six))),
        host.enter(),
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as source,
    ):
        for _ in range(10):
            source.sendto(b"x", ("::1", WIRED))
    saved = host.run(["ip6tables-save", "-c", "-t", "mangle"]).stdout
    assert "[10:490] -A INPUT" in saved


@both_backends
def test_what_is_no_packet_leaves_without_our_mark(host: Namespace, backend: Backend) -> None:
    """UDP whose header is cut off by a fragment: too short to have ports, so it is malformed."""
    divert(host, mark=UNCLASSIFIED | 0x80000000)
    count(host, 0x80000000)
    with reading(bound(host, backend, engine())), host.enter():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        with raw:
            for _ in range(3):
                raw.sendto(b"\x23\x29", ("127.0.0.1", 0))
    assert counted(host) == [3, 0]
