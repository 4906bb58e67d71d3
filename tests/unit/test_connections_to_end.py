"""Whose connections are ended, or tried again, when states change: tables of changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Uplink
from classifier.uplinks.endings import States, to_end, to_try_again
from classifier.uplinks.state import State

STATES: dict[str, State] = {"u": "up", "d": "down", "a": "draining"}


def uplink(name: str, number: int) -> Uplink:
    return Uplink(name, number, name, gateway6="auto")


POLICY = Policy(
    Gateway(),
    Queue(),
    tuple(uplink(name, number) for number, name in enumerate("abc", 1)),
    (Balancer("x", "nth", (Member("a", 1), Member("b", 1), Member("c", 1, tier=2))),),
)


def of(letters: str, family: int = 4) -> dict[tuple[str, int], State]:
    """The states of a, b and c: `u` up, `d` down, `a` draining."""
    return {(name, family): STATES[letter] for name, letter in zip("abc", letters, strict=True)}


def ended(policy: Policy, before: dict, after: States) -> str:
    return " ".join(f"{uplink.name}{family}" for uplink, family in to_end(policy, before, after))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("uuu", "uuu", ""),
        ("uuu", "duu", "a4"),
        ("auu", "duu", "a4"),
        ("uuu", "auu", ""),
        ("duu", "uuu", ""),
        ("duu", "duu", ""),
        ("duu", "dud", "c4"),
        ("uuu", "ddd", ""),
        ("udd", "ddd", ""),
        ("ddd", "ddu", "a4 b4"),
        ("ddd", "dda", ""),
        ("ddu", "duu", ""),
        ("ddu", "udd", "c4"),
    ],
)
def test_those_of_a_down_uplink_end_once_another_can_take_them_and_no_others(
    before: str, after: str, expected: str
) -> None:
    assert ended(POLICY, of(before), of(after)) == expected


def test_what_was_found_down_at_the_start_is_ended_too() -> None:
    assert ended(POLICY, {}, of("duu")) == "a4"


def test_a_family_that_fails_by_itself_ends_its_own_connections_only() -> None:
    before = {**of("uuu"), **of("uuu", 6)}
    assert ended(POLICY, before, {**of("uuu"), **of("duu", 6)}) == "a6"
    assert ended(POLICY, before, {**of("uuu"), **of("ddd", 6)}) == ""


def with_each(**changed: str) -> Policy:
    return replace(POLICY, uplinks=tuple(replace(u, **changed) for u in POLICY.uplinks))


def test_flush_never_ends_none() -> None:
    assert ended(with_each(flush="never"), of("uuu"), of("ddu")) == ""


def test_failback_move_ends_those_of_standbys_and_not_of_its_own_tier() -> None:
    policy = with_each(failback="move")
    assert ended(policy, of("duu"), of("uuu")) == "c4"
    assert ended(policy, of("uud"), of("uuu")) == ""
    assert ended(policy, {}, of("uuu")) == ""


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("uuu", "duu", []),
        ("duu", "uuu", ["a"]),
        ("duu", "auu", []),
        ("auu", "uuu", []),
        ("ddd", "udd", ["a", None]),
        ("ddd", "uud", ["a", "b", None]),
        ("dad", "uad", ["a", None]),
        ("aaa", "uaa", [None]),
        ("ddd", "add", []),
    ],
)
def test_what_had_no_answer_is_tried_again_on_what_is_back(
    before: str, after: str, expected: list[str | None]
) -> None:
    changes = to_try_again(POLICY, of(before), of(after))
    assert [(back.name if back else None, family) for back, family in changes] == [
        (name, 4) for name in expected
    ]


def test_those_of_a_balancer_are_tried_again_though_an_uplink_beside_it_was_up() -> None:
    balancer = Balancer("y", "nth", (Member("a", 1), Member("b", 1)))
    policy = replace(POLICY, balancers=(balancer,), rules=(Rule("r", "y"), Rule("c", "c")))
    assert (None, 4) in to_try_again(policy, of("ddu"), of("udu"))
    assert (None, 4) in to_try_again(policy, of("uud"), of("uuu"))
    assert (None, 4) not in to_try_again(policy, of("udu"), of("uuu"))


def test_an_uplink_that_a_reload_brings_is_one_that_is_back() -> None:
    before = {key: state for key, state in of("ddd").items() if key[0] != "a"}
    assert [back and back.name for back, _ in to_try_again(POLICY, before, of("udd"))] == [
        "a",
        None,
    ]


def test_nothing_is_tried_again_at_the_start() -> None:
    assert list(to_try_again(POLICY, {}, of("udd"))) == []
