"""The bench `shaped` puts methods in order only where their runs lie apart."""

from __future__ import annotations

from bench.shaped.order import NEAR, Range, differences, order
from bench.shaped.result import Row, Table, drawn, used


def test_methods_whose_runs_overlap_are_printed_as_tied() -> None:
    found = {
        "least-loaded": Range(98, 97, 99),
        "nth": Range(54, 54, 54),
        "hash": Range(55, 47, 61),
    }
    assert order(found) == "least-loaded > nth = hash"


def test_runs_that_only_touch_are_tied_and_those_apart_are_not() -> None:
    low = Range(50, 50, 50)
    assert order({"a": Range(50 + NEAR, 50 + NEAR, 60), "b": low}) == "a = b"
    assert order({"a": Range(55, 50.1 + NEAR, 60), "b": low}) == "a > b"


def test_a_method_of_wide_spread_does_not_tie_those_that_it_reaches() -> None:
    """`c` has runs like those of `a` and like those of `b`; `a` is ahead of `b` all the same."""
    found = {"a": Range(90, 89, 91), "b": Range(70, 69, 71), "c": Range(60, 30, 95)}
    assert order(found) == "a > b = c, a = c"
    found = {"a": Range(90, 89, 91), "b": Range(70, 69, 71), "c": Range(80, 60, 95)}
    assert order(found) == "a = b = c, a > b"


def test_another_order_on_the_wires_is_named_pair_by_pair() -> None:
    paper = {"a": Range(90, 89, 91), "b": Range(70, 69, 71), "c": Range(69, 60, 72)}
    assert differences(paper, paper) == []
    wires = {**paper, "a": Range(50, 49, 51)}
    assert differences(paper, wires) == [
        "a > b was predicted, b > a was measured",
        "a > c was predicted, c > a was measured",
    ]
    tied = {**paper, "c": Range(60, 59, 61)}
    assert differences(paper, tied) == ["b = c was predicted, b > c was measured"]


def test_the_table_says_whether_the_order_is_the_one_predicted() -> None:
    rows = [
        Row("nth", used([95, 94]), used([96]), 600, 600, None),
        Row("statistic", used([80, 82]), drawn([70, *[80] * 38, 90]), 600, None, None),
    ]
    text = Table("bursts", tuple(rows)).text()
    assert "order predicted: nth > statistic\n  order measured:  nth > statistic" in text
    assert "600 of 600" in text
    assert "not as predicted: nothing" in text
    slow = Row("nth", used([60, 61]), used([96]), 600, 600, None)
    assert "not as predicted: nth > statistic was predicted, statistic > nth was measured" in (
        Table("bursts", (slow, rows[1])).text()
    )
