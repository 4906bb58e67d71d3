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
                *[(59.9, LEAVE), (60, RETRY), (61, LEAVE), (179.9, LEAVE), (180, RETRY)],
                *[(419.9, LEAVE), (420, RETRY), (899.9, LEAVE), (900, RETRY)],
                *[(1300, LEAVE), (1499.9, LEAVE), (1500, RETRY), (2099.9, LEAVE), (2100, RETRY)],
            ],
            id="tries twice as rarely each time, down to every ten minutes",
        ),
        pytest.param(
            [
                *[(0, HEAL), (0, HEAL), (0, HEAL), (0, GIVE_IN), (60, RETRY)],
                *[(660, HEAL), (661, HEAL), (662, HEAL), (663, GIVE_IN), (723, RETRY)],
            ],
            id="ten quiet minutes, and it may be said again",
        ),
        pytest.param(
            [(0, HEAL), (0, HEAL), (0, HEAL), (0, GIVE_IN), (599.9, RETRY), (1199.8, RETRY)],
            id="nearly ten quiet minutes are none",
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
    assert len(limit.given_in(599)) == 1000
    assert limit.given_in(600) == ()
    assert not limit._troubles


def test_a_try_that_failed_is_no_fight() -> None:
    limit = HealLimit()
    for second in range(10):
        assert limit.note("routes", float(second)) is Action.HEAL
        limit.failed("routes")
    assert limit.given_in(10.0) == ()
