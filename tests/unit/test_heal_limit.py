"""Healing stops before it becomes a fight, and starts again after it."""

from __future__ import annotations

import pytest

from classifier.service.heal_limit import Action, HealLimit

HEAL, GIVE_IN, LEAVE, RETRY = Action.HEAL, Action.GIVE_IN, Action.LEAVE, Action.RETRY


@pytest.mark.parametrize(
    "story",
    [
        pytest.param([(0, HEAL)], id="once"),
        pytest.param([(0, HEAL), (1, HEAL), (2, HEAL), (3, GIVE_IN), (4, LEAVE)], id="a fight"),
        pytest.param([(0, HEAL), (0, HEAL), (0, HEAL), (0, GIVE_IN)], id="all at one time"),
        pytest.param([(t, HEAL) for t in range(0, 3000, 20)], id="three a minute, for ever"),
        pytest.param(
            [(0, HEAL), (1, HEAL), (59, HEAL), (60, HEAL), (60.5, GIVE_IN)],
            id="the minute goes with the clock",
        ),
        pytest.param(
            [
                *[(0, HEAL), (0, HEAL), (0, HEAL), (0, GIVE_IN)],
                *[(4.9, LEAVE), (5, RETRY), (6, LEAVE), (14.9, LEAVE), (15, RETRY)],
                *[(34.9, LEAVE), (35, RETRY), (74.9, LEAVE), (75, RETRY), (155, RETRY)],
                *[(255, LEAVE), (315, RETRY), (425, LEAVE), (535, LEAVE), (635, RETRY)],
                *[(t, LEAVE) for t in range(735, 1235, 100)],
                *[(1235, RETRY), *((t, LEAVE) for t in range(1335, 1835, 100)), (1835, RETRY)],
            ],
            id="tries twice as rarely each time, down to every ten minutes",
        ),
        pytest.param(
            [
                *[(0, HEAL), (0, HEAL), (0, HEAL), (0, GIVE_IN), (5, RETRY)],
                *[(125, HEAL), (126, HEAL), (127, HEAL), (128, GIVE_IN), (133, RETRY)],
            ],
            id="two quiet minutes, and it may be said again",
        ),
        pytest.param(
            [(0, HEAL), (0, HEAL), (0, HEAL), (0, GIVE_IN), (119.9, RETRY), (239.8, RETRY)],
            id="nearly two quiet minutes are none",
        ),
        pytest.param(
            [(0, HEAL), (0.6, HEAL), (1.2, HEAL), (1.8, GIVE_IN), (2.4, LEAVE), (7.4, RETRY)],
            id="a firewall script that flushes five times costs seconds, not a minute",
        ),
    ],
)
def test_what_is_done_about_a_thing_that_is_wrong_at_these_seconds(
    story: list[tuple[float, Action]],
) -> None:
    limit = HealLimit()
    assert [(now, limit.note("ip rules", now)) for now, _ in story] == story


def test_one_fight_does_not_keep_other_things_from_being_healed() -> None:
    limit = HealLimit()
    for _ in range(5):
        limit.note("iptables mangle", 0)
    assert limit.note("ip rules", 0) is HEAL
    assert limit.given_in(0) == ("iptables mangle",)


def test_what_has_become_quiet_is_forgotten() -> None:
    limit = HealLimit()
    for number in range(1000):
        for _ in range(4):
            limit.note(f"sysctl {number}", 0)
    assert len(limit.given_in(119)) == 1000
    assert limit.given_in(120) == ()
    assert not limit._troubles


def test_a_try_that_failed_is_no_fight() -> None:
    limit = HealLimit()
    for second in range(10):
        assert limit.note("routes", float(second)) is Action.HEAL
        limit.failed("routes")
    assert limit.given_in(10.0) == ()
