"""Uplinks scripted to fail and return: decisions change from that packet on, and no other."""

from __future__ import annotations

from collections import Counter

import pytest
from capture_files import ACK, RST, SYN, SYN_ACK, at, ipv4, ipv6, tcp, udp

from classifier.config import parse_policy
from classifier.errors import UsageError
from classifier.replay import Replay, replay

IN, OUT = "192.168.1.2", "198.51.100.7"
THREE = """
[gateway]
lan = ["lan0"]
[uplinks.a]
interface = "eth0"
gateway = "192.0.2.1"
{a}
[uplinks.b]
interface = "eth1"
gateway = "198.51.100.1"
{b}
[uplinks.c]
interface = "eth2"
gateway = "203.0.113.1"
tier = 2
[balancers.all]
uplinks = ["a", "b", "c"]
{balancer}
[[rules]]
use = "all"
"""


def three(balancer: str = "", a: str = "", b: str = ""):
    return parse_policy(THREE.format(balancer=balancer, a=a, b=b))


def new(number: int, remote: str = OUT) -> bytes:
    return ipv4(IN, remote, 17, udp(1000 + number, 53))


def uplinks(policy, path, *events: str, **options) -> list[str | None]:
    return [d.uplink for d in replay(policy, path, seed=1, at=events, **options).decisions]


def test_new_flows_avoid_it_from_the_first_packet_of_that_time_on(raw):
    path = raw(at(n / 1000, new(n)) for n in range(100))
    went = uplinks(three(), path, "50ms a down", "70ms a up")
    assert Counter(went[:50]) == {"a": 25, "b": 25}
    assert went[50:70] == ["b"] * 20
    assert Counter(went[70:]) == {"a": 15, "b": 15}


@pytest.mark.parametrize("time", [49.999, 50.0])
def test_the_moment_is_exact_to_the_millisecond(raw, time):
    path = raw([at(0, new(0)), at(time, new(1)), at(time, new(2))])
    assert ("a" in uplinks(three(), path, "50s a down")[1:]) == (time < 50)


def test_a_standby_takes_over_only_when_all_before_it_are_down(raw):
    """As on a gateway, in a replay without events too."""
    path = raw(at(n, new(n)) for n in range(40))
    went = uplinks(three(), path, "10s a down", "20s b down", "30s b auto")
    assert set(went[:10]) == {"a", "b"}
    assert (went[10:20], went[20:30], went[30:]) == (["b"] * 10, ["c"] * 10, ["b"] * 10)


def test_its_flows_begin_anew_elsewhere_and_answers_to_the_old_ones_reach_nobody(raw):
    opened = [
        at(0, ipv4(IN, OUT, 6, tcp(n, 443, SYN))) for n in (1, 2)
    ] + [at(0.1, ipv4(OUT, IN, 6, tcp(443, n, SYN_ACK))) for n in (1, 2)]  # fmt: skip
    later = [
        at(10, ipv4(OUT, IN, 6, tcp(443, 1, ACK, b"late"))),
        at(10, ipv4(OUT, IN, 6, tcp(443, 2, ACK, b"in time"))),
        at(11, ipv4(IN, OUT, 6, tcp(1, 443, ACK))),
        at(11, ipv4(OUT, IN, 6, tcp(443, 1, ACK, b"answer"))),
        at(11, ipv4(IN, OUT, 6, tcp(2, 443, ACK))),
    ]
    report = replay(three(), raw(opened + later), seed=1, at=["5s a down"])
    assert [(d.sport, d.uplink, d.time % 100, d.packets, d.reason) for d in report.decisions] == [
        (1, "a", 0.0, 2, "nth"), (2, "b", 0.0, 4, "nth"), (1, "b", 11.0, 2, "nth"),
    ]  # fmt: skip
    assert (report.untracked, report.packets) == (1, 9)
    assert (report.uplinks["a"].packets, report.uplinks["b"].packets) == (2, 6)


def test_with_lan_an_answer_to_an_ended_connection_is_no_inbound_flow(raw):
    frames = [
        at(0, ipv4(IN, OUT, 6, tcp(1, 443, SYN))),
        at(0.1, ipv4(OUT, IN, 6, tcp(443, 1, SYN_ACK))),
        at(10, ipv4(OUT, IN, 6, tcp(443, 1, ACK, b"late"))),
        at(11, ipv4(IN, OUT, 6, tcp(1, 443, ACK))),
        # Somebody outside uses that very pair of ports for a connection of their own.
        at(12, ipv4(OUT, IN, 6, tcp(443, 1, RST))),
    ]
    report = replay(three(), raw(frames), seed=1, lan=["192.168.0.0/16"], at=["5s a down"])
    assert (report.flows, report.inbound.flows, report.untracked) == (2, 0, 1)


def test_a_new_connection_from_outside_is_not_taken_for_a_late_answer(raw):
    frames = [
        at(0, ipv4(IN, OUT, 6, tcp(1, 443, SYN))),
        at(0.1, ipv4(OUT, IN, 6, tcp(443, 1, SYN_ACK))),
        at(10, ipv4(OUT, IN, 6, tcp(443, 1, SYN))),
    ]
    report = replay(three(), raw(frames), seed=1, lan=["192.168.0.0/16"], at=["5s a down"])
    assert (report.flows, report.inbound.flows, report.untracked) == (1, 1, 0)


def test_what_was_ended_is_forgotten_when_conntrack_would_have_forgotten_it(raw):
    """Late answers are known as such for as long as the connection would have been there."""
    asked, answer = ipv4(IN, OUT, 17, udp(1, 53)), ipv4(OUT, IN, 17, udp(53, 1))
    for seconds, untracked in ((29, 1), (31, 0)):
        path = raw([at(0, asked), at(seconds, answer)])
        report = replay(three(), path, seed=1, at=["5s a down"])
        assert (report.untracked, report.flows) == (untracked, 2 - untracked)


@pytest.mark.parametrize(
    ("state", "flush", "ended"),
    [("down", "down", True), ("down", "never", False), ("drain", "down", False)],
)
def test_flows_stay_where_the_gateway_lets_them_stay(raw, state, flush, ended):
    frames = [at(n, ipv4(IN, OUT, 17, udp(1, 53))) for n in range(0, 60, 10)]
    frames += [at(31, new(n)) for n in range(4)]
    policy = three(a=f'flush = "{flush}"')
    report = replay(
        policy, raw(sorted(frames, key=lambda f: f.time)), seed=1, at=[f"30s a {state}"]
    )
    assert report.decisions[0].packets == (3 if ended else 6)
    assert "a" not in [d.uplink for d in report.decisions[1:]]


def test_of_the_only_uplink_nothing_is_ended(raw):
    """Nothing else can take its flows; they go on when it is back."""
    path = raw(at(n, ipv4(IN, OUT, 17, udp(1, 53))) for n in range(0, 60, 10))
    report = replay(three(), path, seed=1, at=["10s c down", "20s b down", "30s a down"])
    assert [(d.uplink, d.packets) for d in report.decisions] == [("a", 6)]


@pytest.mark.parametrize("failback", ["keep", "move"])
def test_flows_on_a_standby_move_back_where_that_is_wanted(raw, failback):
    frames = [at(n, ipv4(IN, OUT, 17, udp(1, 53))) for n in range(10, 60, 10)]
    policy = three(a=f'failback = "{failback}"')
    path = raw([at(0, new(5)), *frames])
    went = uplinks(policy, path, "5s a down", "5s b down", "35s a up")
    assert went == ["a", "c", "a"] if failback == "move" else ["a", "c"]


def test_a_flow_that_began_just_before_moves_back_too(raw):
    """For five seconds the engine knows a flow in flight; not one whose connection has ended."""
    policy = three(a='failback = "move"')
    path = raw([at(0, new(5)), *(at(n, ipv4(IN, OUT, 17, udp(1, 53))) for n in (10, 11, 13, 14))])
    assert uplinks(policy, path, "5s a down", "5s b down", "12s a up") == ["a", "c", "a"]


def test_its_sticky_entries_are_forgotten_and_those_of_others_are_not(raw):
    sticky = 'sticky = { by = "remote", timeout = "4h" }'
    remotes = ["198.51.100.1", "198.51.100.2"]
    frames = [at(n, new(n, remotes[n % 2])) for n in range(60)]
    went = uplinks(three(sticky), raw(frames), "20s a down", "40s a up")
    assert went[:20] == ["a", "b"] * 10
    assert went[20:40] == ["b"] * 20
    # Both are remembered on b by now.
    assert went[40:] == ["b"] * 20


def test_ipv6_flows_of_an_uplink_without_ipv6_are_left_alone_by_it(raw):
    """An uplink takes what it has a gateway for; that it fails changes nothing about the rest."""
    policy = three(b='gateway6 = "2001:db8::1"')
    frames = [at(n, ipv6("2001:db8::5", "2001:db8:1::7", 17, udp(1, 53))) for n in (0, 10, 20)]
    report = replay(policy, raw(frames), seed=1, at=["5s a down"])
    assert [(d.uplink, d.packets) for d in report.decisions] == [("b", 3)]
    report = replay(policy, raw(frames), seed=1, at=["5s b down"])
    assert [(d.uplink, d.reason) for d in report.decisions] == [("b", "nth")], "nothing takes it"


def test_the_time_counts_over_several_captures(raw):
    first = raw(at(n, new(n)) for n in range(4))
    second = raw(at(100 + n, new(10 + n)) for n in range(4))
    went = uplinks(three(), [second, first], "101s a down")
    assert went[5:] == ["b"] * 3
    assert "a" in went[:5]


def test_what_the_captures_do_not_come_to_is_still_waiting(raw):
    run = Replay(three(), seed=1, at=["5s a down", "2s b drain"])
    run.read(raw([at(0, new(0)), at(3, new(1))]))
    assert [str(event) for event in run.waiting] == ["5s a down"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("120s wired", 'must be "TIME UPLINK STATE", such as "120s wired down"'),
        ("120s a gone", "'gone' is no state (auto, up, down, drain)"),
        ("120s x down", "the policy has no uplink 'x' (a, b, c)"),
        ("soon a down", "the time 'soon' must be whole seconds or text such as"),
        ("-1s a down", "the time '-1s' must be whole seconds"),
        ("²s a down", "the time '²s' must be whole seconds"),
        ("9" * 5000 + " a down", "must be whole seconds"),
    ],
)
def test_a_mistake_names_the_value_and_the_rule(text, reason):
    with pytest.raises(UsageError) as caught:
        Replay(three(), at=["1s a down", text])
    assert str(caught.value).startswith(f"at = {text!r}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("time", ["0", "0s"])
def test_an_uplink_may_be_down_from_the_start(raw, time):
    assert uplinks(three(), raw(at(n, new(n)) for n in range(4)), f"{time} a down") == ["b"] * 4
