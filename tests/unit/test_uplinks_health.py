"""When an uplink counts as good or bad: traces of rounds, and the verdict after each.

In a trace each letter is a round of one target: `.` answered at once, `s` answered slowly,
`x` lost; a number before a letter repeats it. `D` and `U` say that the uplink has just gone down
and come back: after every other round nothing may have changed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from classifier.policy import Health, Target
from classifier.uplinks.health import FLAP_MEMORY, MOST_STRICT, Answer, HealthMachine, Verdict

QUICK, SLOW = 0.02, 1.5
ANSWERS = {".": Answer(QUICK), "s": Answer(SLOW), "x": Answer(None, "no answer")}
ISSUE = {"down": 7, "up": 11, "window": 100, "loss": 14, "loss_ok": 5}
"""Down after 7 in a row or 15 of the last 100; up after more than 10 with at most 5 lost."""
STREAKS = {"loss": 100, "loss_ok": 100}
"""Nothing but rounds in a row counts."""

TRACES: dict[str, tuple[dict[str, Any], str]] = {
    "a line that answers stays up": ({}, "500."),
    "three silent rounds": ({}, "10. 2x 1. 2x 1. 3x D"),
    "seven in a row": (ISSUE, "50. 6x 1. 7x D"),
    "fifteen of the last hundred": (ISSUE, "100." + "x5." * 14 + "x D"),
    "fourteen of the last hundred are borne": (ISSUE, ("x6." * 14 + "2.") * 5),
    "fifteen from the start, before the window is full": (ISSUE, "x." * 14 + "x D"),
    "eleven good rounds, few lost before": (
        {**ISSUE, "down": 5},
        "95. 5x D 10. 1. U",
    ),
    "ten good rounds are not enough": ({**ISSUE, "down": 5}, "95. 5x D 10. x 10. x 10. x 60."),
    "eleven good rounds, seven still in the window": (ISSUE, "93. 7x D 94. 1. U"),
    "a return counts from the last lost round": (STREAKS, "3x D 4. x 4. x 5. U"),
    "a long outage leaves the window first": ({}, "30. 3x D 497x 26. 1. U"),
    "a short one needs five good rounds": ({}, "30. 3x D 5. U"),
    "loss above 40 percent": ({"down": 100}, "30. 12x 1. x D"),
    "between the limits a good line stays good": ({}, "30." + "x2." * 200),
    "between the limits a bad line stays bad": (
        {"down": 13, "up": 1},
        "30. 13x D" + "x4." * 40,
    ),
    "a slow line": ({"timeout": 2.0}, "30. 19s 1s D"),
    "a slow line comes back below the lower limit": ({"timeout": 2.0}, "30. 20s D 20. 1. U"),
    "one slow answer at first is no evidence": ({"timeout": 2.0}, "1s 500."),
    "a limit of no loss at all can be met": ({"loss_ok": 0}, "30. 3x D 27. 3. U"),
}


def machine(limits: dict[str, Any], targets: int = 1, *, good: bool = True) -> HealthMachine:
    named = tuple(Target(f"192.0.2.{i}", f"192.0.2.{i}") for i in range(1, targets + 1))
    return HealthMachine(Health("icmp", named, **limits), targets, good=good)


def rounds(trace: str) -> list[str]:
    """One letter for each round, `D` and `U` as they are."""
    return [
        letter
        for count, letter in re.findall(r"(\d*)([.sxDU])", trace)
        for _ in range(int(count or 1))
    ]


def follow(judge: HealthMachine, trace: str) -> str:
    """The trace as the machine sees it: with a D or U wherever its verdict changed."""
    seen, good = [], judge.verdict.good
    for number, letter in enumerate(letter for letter in rounds(trace) if letter in ANSWERS):
        verdict = judge.round([ANSWERS[letter]], 1000.0 + number)
        seen.append(letter)
        if verdict.good != good:
            good = verdict.good
            seen.append("U" if good else "D")
    return "".join(seen)


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_changes_the_verdict_where_it_says(name: str) -> None:
    limits, trace = TRACES[name]
    assert follow(machine(limits), trace) == "".join(rounds(trace))


@pytest.mark.parametrize("phase", [0.001, 0.5, 1.0])
def test_with_the_defaults_a_dead_line_is_seen_in_under_five_seconds(phase: float) -> None:
    judge, died = machine({}), 100 - phase
    limits = Health("icmp", ())
    for number in range(1000):
        began = number * limits.interval
        answer = Answer(QUICK) if began < died else Answer(None, "no answer")
        if not judge.round([answer], began).good:
            assert began + limits.timeout - died < 5
            return
    raise AssertionError("it was never seen")


def lost_of(targets: int, silent: int) -> list[Answer]:
    return [Answer(None, "no answer")] * silent + [Answer(QUICK)] * (targets - silent)


def judged(judge: HealthMachine, *silent: int, targets: int = 3) -> list[bool]:
    """The verdicts after rounds in which so many of the targets were silent."""
    return [judge.round(lost_of(targets, count), 0.0).good for count in silent]


def test_one_answer_is_enough_by_default_and_a_dead_target_condemns_no_uplink() -> None:
    judge = machine({}, targets=3)
    assert all(judged(judge, *[2] * 300))
    assert judge.verdict == Verdict(True, "1 of 3 targets answer", 0.0, QUICK)
    assert judged(judge, 3, 3, 3) == [True, True, False]


def test_as_many_targets_as_needed_have_to_answer() -> None:
    judge = machine({"need": 2}, targets=3)
    assert all(judged(judge, *[1] * 300))
    assert judged(judge, 2, 2, 1, 2, 2, 2) == [True] * 5 + [False]


def test_a_target_that_is_slow_or_lossy_by_itself_condemns_no_uplink() -> None:
    judge = machine({"timeout": 2.0, "need": 1}, targets=2)
    for _ in range(100):
        assert judge.round([Answer(SLOW), Answer(QUICK)], 0.0).good
    both = machine({"timeout": 2.0, "need": 2}, targets=2)
    assert not all(both.round([Answer(SLOW), Answer(QUICK)], 0.0).good for _ in range(100))


def test_targets_are_judged_by_family_so_need_is_no_more_than_there_are() -> None:
    assert judged(machine({"need": 2}, targets=1), *[0] * 10, targets=1) == [True] * 10


@pytest.mark.usefixtures("utc")
@pytest.mark.parametrize(
    ("limits", "trace", "reason"),
    [
        ({}, "", "not probed yet"),
        ({}, "3.", "1 of 1 targets answer"),
        ({}, "3. 2x", "0 of 1 targets answer"),
        ({}, "3. 3x", "1 of 1 targets silent since 00:00:03"),
        ({}, "3. 60x", "1 of 1 targets silent since 00:00:03"),
        ({}, "3. 3x 2.", "answers again since 00:00:06, 2 of 5 good rounds in a row"),
        ({}, "3. 6x .", "loss 20%, comes back at 10%"),
        (ISSUE, "60. 14x .", "loss 14%, comes back at 5%"),
        ({"timeout": 2.0, "latency": 1.0}, "40s", "latency 1500ms, comes back at 500ms"),
    ],
)
def test_the_reason_says_what_an_operator_wants_to_know(
    limits: dict[str, Any], trace: str, reason: str
) -> None:
    judge = machine(limits)
    for number, letter in enumerate(rounds(trace)):
        judge.round([ANSWERS[letter]], float(number))
    assert judge.verdict.reason == reason


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_the_reason_counts_the_silent_targets() -> None:
    judge = machine({"need": 2}, targets=3)
    judged(judge, 2, 2, 2)
    assert judge.verdict.reason.startswith("2 of 3 targets silent since ")


def test_loss_and_latency_are_those_of_the_window() -> None:
    judge = machine({"window": 4, "loss": 100, "latency": 60.0, "down": 100})
    assert judge.verdict.loss is None and judge.verdict.latency is None
    seen = []
    for seconds in (None, 0.1, 0.3, None, None, None, None):
        verdict = judge.round([Answer(seconds)], 0.0)
        seen.append((verdict.loss, verdict.latency))
    assert seen == [
        (1.0, None), (1 / 2, 0.1), (1 / 3, 0.2), (1 / 2, 0.2), (1 / 2, 0.2), (3 / 4, 0.3),
        (1.0, None),
    ]  # fmt: skip


def outage(judge: HealthMachine) -> int:
    """Let it go down; returns how many good rounds it takes to come back."""
    while judge.verdict.good:
        judge.round([ANSWERS["x"]], 0.0)
    for count in range(1, 1000):
        if judge.round([ANSWERS["."]], 0.0).good:
            return count
    raise AssertionError("it never came back")


def test_a_flapping_line_has_to_answer_longer_each_time_and_never_longer_than_the_limit() -> None:
    judge = machine(STREAKS)
    assert [outage(judge) for _ in range(6)] == [5, 10, 20, 40, 5 * MOST_STRICT, 5 * MOST_STRICT]


def test_flapping_is_told_once_and_forgotten_after_a_quiet_time() -> None:
    judge = machine(STREAKS)
    told = []
    for letter in rounds("400. 3x 5. 20. 3x 10. 20. 3x 20. 600."):
        before = judge.verdict.flapping
        if judge.round([ANSWERS[letter]], 0.0).flapping and not before:
            told.append(letter)
    assert told == ["x"]
    assert not judge.verdict.flapping
    assert outage(judge) == 5


def test_a_line_that_falls_now_and_then_is_not_flapping() -> None:
    judge = machine(STREAKS)
    for _ in range(10):
        assert outage(judge) == 5
        for _ in range(FLAP_MEMORY):
            judge.round([ANSWERS["."]], 0.0)


def test_an_uplink_that_was_bad_before_a_restart_has_to_show_that_it_is_good() -> None:
    judge = machine({}, good=False)
    assert judge.verdict.reason == "was down before the start"
    assert follow(judge, "5.") == ".....U"
    assert follow(machine({}, good=False), "50x") == "x" * 50
