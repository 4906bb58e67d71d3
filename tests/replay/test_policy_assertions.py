"""Assertions about policies: what they let pass, and how they explain what they do not."""

from __future__ import annotations

import re

import pytest
from capture_files import at, ipv4, ipv6, udp
from replayed_policies import ALTERNATING

from classifier.config import parse_policy
from classifier.errors import ConfigError, UsageError
from classifier.testing import PolicyAssertionError, Replays, replay

IN, OTHER_IN = "192.168.1.2", "192.168.1.3"
STICKY = ALTERNATING.replace('"nth"', '"nth"\nsticky = "remote"')


@pytest.fixture
def capture(raw):
    """Six flows to two remotes, one of them big, one over IPv6, one to 10/8."""
    packets = [
        ipv4(IN, "198.51.100.7", 17, udp(1000, 443)),
        ipv4(IN, "198.51.100.7", 17, udp(1001, 443, bytes(972))),
        ipv4(OTHER_IN, "198.51.100.8", 17, udp(1002, 53)),
        ipv4(IN, "198.51.100.7", 17, udp(1003, 443)),
        ipv6("2001:db8:2::5", "2001:db8::1", 17, udp(1004, 443)),
        ipv4(IN, "10.0.0.1", 50, bytes(8)),
    ]
    return raw(at(number / 2, packet) for number, packet in enumerate(packets))


@pytest.fixture
def outcome(policy, capture):
    return replay(policy, capture)


def failure(assertion, *arguments, **options) -> str:
    with pytest.raises(PolicyAssertionError) as caught:
        assertion(*arguments, **options)
    return str(caught.value)


def test_a_share_is_a_number_and_an_assertion(outcome):
    assert outcome.share("a") == 3 / 5
    assert outcome.share("a").between(0.6, 0.6).at_least(0.6).at_most(0.6) == 0.6
    outcome.share("b", by="bytes").at_least(0.85)


def test_a_share_that_is_too_low_shows_who_got_the_flows(outcome):
    assert failure(outcome.share("a").between, 0.7, 0.8).splitlines() == [
        "share of a by flows is 60.00%: must be between 70.00% and 80.00%",
        "  a: 3 flows (60.00%), 104 bytes (9.19%)",
        "  b: 2 flows (40.00%), 1028 bytes (90.81%)",
        "first flows by other uplinks:",
        "  0.500 s udp 192.168.1.2:1001 > 198.51.100.7:443: uplink b, rule 'rest', nth",
        "  1.500 s udp 192.168.1.2:1003 > 198.51.100.7:443: uplink b, rule 'rest', nth",
    ]


def test_a_share_that_is_too_high_shows_its_own_flows(outcome):
    said = failure(outcome.share("b", by="bytes").at_most, 0.5).splitlines()
    assert said[0] == "share of b by bytes is 90.81%: must be at most 50.00%"
    assert said[3] == "first flows by b:" and len(said) == 6


def test_flows_that_must_never_be_are_listed_with_rule_and_reason(outcome):
    outcome.never(uplink="b", dst="2001:db8::/32")
    outcome.never(dport=(444, 65535), protocol="udp")
    said = failure(outcome.never, uplink="a", dport=443).splitlines()
    assert said == [
        "2 of 6 flows match uplink='a', dport=443; none must:",
        "  0.000 s udp 192.168.1.2:1000 > 198.51.100.7:443: uplink a, rule 'rest', nth",
        "  2.000 s udp [2001:db8:2::5]:1004 > [2001:db8::1]:443: uplink a, rule 'rest', nth",
    ]


@pytest.mark.parametrize(
    ("match", "count"),
    [
        ({}, 6),
        ({"uplink": "direct"}, 1),
        ({"rule": "rest"}, 5),
        ({"reason": "direct"}, 1),
        ({"protocol": "esp"}, 1),
        ({"protocol": "50"}, 1),
        ({"protocol": 50}, 1),
        ({"src": OTHER_IN}, 1),
        ({"dst": "198.51.100.0/24"}, 4),
        ({"sport": range(1000, 1002)}, 2),
        ({"sport": (1000, 1002)}, 3),
        ({"dport": 53}, 1),
    ],
)
def test_flows_are_matched_by_all_they_have(outcome, match, count):
    assert re.match(f"{count} of 6 flows", failure(outcome.never, **match))


@pytest.mark.parametrize(
    ("match", "rule"),
    [
        ({"uplink": "lte"}, "uplink = 'lte': must be one of a, b, direct, drop"),
        ({"rule": "nothing"}, "must be one of home, no mail, rest"),
        ({"reason": "fate"}, "reason = 'fate': must be one of pinned"),
        ({"protocol": "tpc"}, "protocol = 'tpc': must be a name"),
        ({"dst": "10.0.0.1/8"}, "dst = '10.0.0.1/8': .*host bits"),
        ({"protocol": 256}, "protocol = 256: must be a name"),
        ({"dst": 7}, "dst = 7: must be an address"),
        ({"dport": (443, 80)}, r"dport = \(443, 80\): must be a port"),
        ({"sport": 70000}, "sport = 70000: must be a port"),
        ({"dport": "443"}, "dport = '443': must be a port"),
        ({"dport": [80, 443]}, r"dport = \[80, 443\]: must be a port"),
        ({"dport": range(0)}, "must be a port"),
        ({"dport": (0, 65536)}, "must be a port"),
        ({"port": 443}, "port: is nothing that flows are told apart by"),
    ],
)
def test_a_name_that_no_flow_can_have_is_no_assertion_that_holds(outcome, match, rule):
    with pytest.raises(UsageError, match=rule):
        outcome.never(**match)


def test_related_flows_can_be_asked_for(outcome):
    outcome.never(reason="related")


def test_a_share_of_something_else_is_refused(outcome):
    with pytest.raises(UsageError, match="by = 'packets': must be flows or bytes"):
        outcome.share("a", by="packets")


def test_what_would_test_nothing_is_refused(policy, capture):
    with pytest.raises(UsageError, match=r"at = '5000s a down': does not happen.*after 2\.5s"):
        replay(policy, capture, at=["1s a down", "5000s a down"])
    with pytest.raises(UsageError, match="captures: none are given"):
        replay(policy, [])


def test_a_remote_that_changes_uplink_is_shown_with_both_flows(outcome):
    said = failure(outcome.same_uplink, dport=443).splitlines()
    assert said == [
        "1 of 4 flows (dport=443) went by another uplink than the flow of the same remote before;"
        " none must:",
        "  0.000 s udp 192.168.1.2:1000 > 198.51.100.7:443: uplink a, rule 'rest', nth",
        "  then 0.500 s udp 192.168.1.2:1001 > 198.51.100.7:443: uplink b, rule 'rest', nth",
    ]
    outcome.same_uplink(by="local", src=OTHER_IN)


def test_sticky_remotes_keep_their_uplink(capture):
    kept = replay(parse_policy(STICKY), capture)
    kept.same_uplink()
    kept.same_uplink(by="local+remote")


def test_an_assertion_about_no_flow_fails(outcome):
    assert failure(outcome.same_uplink, dport=99) == (
        "no flow that went by an uplink matches dport=99"
    )


def test_moved_flows_are_shown_with_both_decisions(tmp_path, policy_file, capture):
    other = tmp_path / "other.toml"
    other.write_text(STICKY)
    outcome = replay(policy_file, capture, against=other)
    moved = outcome.report.against.moved
    assert moved > 1
    outcome.moved_at_most(moved)
    outcome.moved_at_most(moved / 6)
    said = failure(outcome.moved_at_most, 0).splitlines()
    assert said[0] == f"{moved} of 6 flows ({moved / 6:.2%}) moved: must be at most 0 flows"
    assert (
        "  0.500 s udp 192.168.1.2:1001 > 198.51.100.7:443: uplink b, rule 'rest', nth;"
        " by the other policy uplink a, rule 'rest', sticky"
    ) in said
    assert "must be at most 1.00%" in failure(outcome.moved_at_most, 0.01)


def test_without_another_policy_nothing_can_move(outcome):
    with pytest.raises(UsageError, match="against"):
        outcome.moved_at_most(0)


def test_long_lists_are_cut(policy, raw):
    packets = (ipv4(IN, "198.51.100.7", 17, udp(n, 443)) for n in range(1, 101))
    outcome = replay(policy, raw(at(n / 10, packet) for n, packet in enumerate(packets)))
    said = failure(outcome.never, dport=443).splitlines()
    assert len(said) == 7 and said[-1] == "  ... and 95 more"
    assert failure(outcome.same_uplink).splitlines()[-1] == "  ... and 94 more"


def test_a_capture_is_replayed_once_for_the_same_options(tmp_path, policy_file, capture):
    replays = Replays(tmp_path)
    one = replays("gateway.toml", capture)
    assert replays("gateway.toml", [capture]) is one
    assert replays("gateway.toml", capture, lan=["192.168.0.0/16"]) is not one
    with pytest.raises(ConfigError, match=r"none\.toml"):
        replays("none.toml", capture)
