"""What an operator reads of an uplink: its state, and the reason in words."""

from __future__ import annotations

from typing import Any

import pytest

from classifier.uplinks.health import Verdict
from classifier.uplinks.state import Asked, Link, State, UplinkState, together

GOOD = Verdict(True, "2 of 2 targets answer", 0.0, 0.01)
BAD = Verdict(False, "2 of 3 targets silent since 12:03:05", 1.0, None)
FINE: dict[str, Any] = {}

# What was asked, what the host lacks, health, state, reason.
CASES: list[tuple[Asked, dict[str, Any], Verdict | None, State, str]] = [
    ("auto", FINE, None, "up", "not probed"),
    ("auto", FINE, GOOD, "up", "2 of 2 targets answer"),
    ("auto", FINE, BAD, "down", "2 of 3 targets silent since 12:03:05"),
    ("auto", {"exists": False, "up": False}, GOOD, "down", "no interface eth1"),
    ("auto", {"up": False, "carrier": False}, GOOD, "down", "eth1 is down"),
    ("auto", {"carrier": False, "route": False}, GOOD, "down", "no carrier"),
    ("auto", {"address": False, "route": False}, GOOD, "down", "eth1 has no IPv4 address"),
    ("auto", {"route": False}, GOOD, "down", "no IPv4 route by eth1"),
    ("auto", {"carrier": False}, BAD, "down", "no carrier"),
    ("up", FINE, None, "up", "by hand"),
    ("up", FINE, GOOD, "up", "by hand"),
    ("up", FINE, BAD, "up", "by hand, though 2 of 3 targets silent since 12:03:05"),
    ("up", {"carrier": False}, GOOD, "down", "no carrier, though asked to be up"),
    ("down", FINE, GOOD, "down", "taken down by hand"),
    ("down", {"carrier": False}, BAD, "down", "taken down by hand"),
    ("drain", FINE, None, "draining", "drained by hand"),
    ("drain", FINE, GOOD, "draining", "drained by hand"),
    ("drain", FINE, BAD, "down", "2 of 3 targets silent since 12:03:05, and drained by hand"),
    ("drain", {"carrier": False}, GOOD, "down", "no carrier, and drained by hand"),
]


@pytest.mark.parametrize(("asked", "lacks", "health", "state", "reason"), CASES)
def test_the_state_follows_the_first_thing_that_decides(
    asked: Asked, lacks: dict[str, Any], health: Verdict | None, state: State, reason: str
) -> None:
    uplink = UplinkState("wired", 4, Link("eth1", **lacks), health, asked)
    assert (uplink.state, uplink.reason) == (state, reason)
    assert uplink.takes_new_flows == (state == "up")


def test_the_words_name_the_family() -> None:
    assert UplinkState("wired", 6, Link("eth1", route=False)).reason == "no IPv6 route by eth1"


def test_an_uplink_is_as_good_as_its_best_family() -> None:
    fine = UplinkState("wired", 4, Link("eth1"), GOOD)
    without6 = UplinkState("wired", 6, Link("eth1", route=False))
    drained = UplinkState("wired", 6, Link("eth1"), GOOD, "drain")
    assert together([fine]) == ("up", "2 of 2 targets answer")
    assert together([fine, without6]) == (
        "up",
        "IPv4: 2 of 2 targets answer; IPv6: no IPv6 route by eth1",
    )
    assert together([without6, drained])[0] == "draining"
    no_carrier = [UplinkState("wired", f, Link("eth1", carrier=False)) for f in (4, 6)]  # type: ignore[arg-type]
    assert together(no_carrier) == ("down", "no carrier")
