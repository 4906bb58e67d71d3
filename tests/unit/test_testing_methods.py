"""The contract test for methods finds each rule that one can break, and lets good ones pass."""

from __future__ import annotations

import random
import re

import pytest
from custom_methods import Counting, Elsewhere, First, NoSelect, Raising, TooFew

from classifier.testing.methods import check_method


class FailsForPings(First):
    def select(self, flow, uplinks, now):
        if flow.protocol == 1:
            raise KeyError(flow.dport)
        return super().select(flow, uplinks, now)


class WantsAll(First):
    """Takes it for granted that every uplink is up."""

    def select(self, flow, uplinks, now):
        return uplinks[2]


class WantsRates(First):
    def select(self, flow, uplinks, now):
        return min(uplinks, key=lambda uplink: uplink.rate / uplink.capacity)


class OwnChance(First):
    def select(self, flow, uplinks, now):
        return random.choice(uplinks)


class Keeps(First):
    """Returns an uplink of an earlier call."""

    kept = None

    def select(self, flow, uplinks, now):
        self.kept = self.kept or uplinks[0]
        return self.kept


class Refuses(First):
    def __init__(self, wanted):
        pass


class RefusesUplinks(First):
    def validate(self, uplinks):
        raise ValueError("not these")


class Unprepared(First):
    def prepare(self, uplinks, seed):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("cls", "rule"),
    [
        (NoSelect, "has no method select"),
        (TooFew, "select must take (self, flow, uplinks, now), not (self, flow"),
        (Raising, "raised RuntimeError: no idea"),
        (Elsewhere, "which is none of these uplinks"),
        (FailsForPings, "raised KeyError"),
        (WantsAll, "raised IndexError"),
        (WantsRates, "raised TypeError"),
        (OwnChance, "two objects with the same seed returned"),
        (Keeps, "which is none of these uplinks"),
        (Refuses, "the constructor raised TypeError"),
        (RefusesUplinks, "validate raised ValueError: not these"),
        (Unprepared, "prepare raised RuntimeError: no"),
    ],
)
def test_a_method_that_breaks_a_rule_is_told_which(cls, rule):
    with pytest.raises(AssertionError, match=re.escape(rule)):
        check_method(cls)


def test_the_flow_and_the_uplinks_of_a_broken_rule_are_named():
    with pytest.raises(AssertionError, match=r"call \d+: select\(Flow\(src='.*LiveUplink\('"):
        check_method(Raising)


def test_a_good_method_is_measured():
    report = check_method(Counting, calls=1000)
    assert report.calls == 1000
    assert 0 < report.microseconds < report.slowest
    assert sum(report.flows.values()) == 1000
    assert min(report.flows.values()) > 250


def test_what_a_method_needs_can_be_given_or_left_out():
    assert check_method(First, {"prefer": "x"}, uplinks=("w", "x"), calls=200).flows["x"] > 100
    check_method(OwnChance, repeatable=False, calls=200)
