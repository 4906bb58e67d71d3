"""Whatever goes wrong whenever: healing keeps to its limit, and comes back after it."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from classifier.service.heal_limit import Action, HealLimit

SUBJECTS = st.sampled_from(["ip rules", "iptables mangle"])
# Bursts, looks every five seconds, and pauses around the limits; eighths, so that sums are exact.
PAUSES = st.one_of(
    st.integers(0, 160), st.sampled_from([0, 40, 479, 480, 959, 960, 4800]), st.integers(0, 16000)
).map(lambda eighths: eighths / 8)
TROUBLES = st.lists(st.tuples(PAUSES, SUBJECTS), max_size=120)


def times(troubles: list[tuple[float, str]]) -> list[tuple[float, str]]:
    now, at = 0.0, []
    for pause, subject in troubles:
        now += pause
        at.append((now, subject))
    return at


def actions(troubles: list[tuple[float, str]]) -> list[tuple[float, str, Action]]:
    limit = HealLimit()
    return [(now, subject, limit.note(subject, now)) for now, subject in troubles]


@given(TROUBLES)
def test_nothing_is_healed_more_often_than_three_times_at_once_and_then_after_longer_pauses(
    troubles: list[tuple[float, str]],
) -> None:
    at_once, later = defaultdict(list), defaultdict(list)
    for now, subject, action in actions(times(troubles)):
        if action is Action.HEAL:
            at_once[subject].append(now)
        elif action is Action.GIVE_IN:
            later[subject].append([now])  # a fight begins
        elif action is Action.RETRY:
            later[subject][-1].append(now)
    for moments in at_once.values():
        for moment in moments:
            assert sum(moment <= other < moment + 60 for other in moments) <= 3
    for fights in later.values():
        for tries in fights:
            pauses = [after - before for before, after in pairwise(tries)]
            for number, pause in enumerate(pauses):
                assert pause >= min(5 * 2**number, 600)


@given(TROUBLES)
def test_each_subject_is_treated_as_if_it_were_alone(troubles: list[tuple[float, str]]) -> None:
    together = actions(times(troubles))
    for subject in {subject for _, subject, _ in together}:
        own = [(now, name) for now, name, _ in together if name == subject]
        assert actions(own) == [step for step in together if step[1] == subject]


@given(TROUBLES)
def test_nothing_is_left_wrong_for_longer_than_ten_minutes(
    troubles: list[tuple[float, str]],
) -> None:
    """While it is looked at, as each look notes what it finds wrong."""
    limit = HealLimit()
    now = 0.0
    for now, subject in times(troubles):
        limit.note(subject, now)
    looks = [now + 5 * number for number in range(1, 122)]
    assert {Action.HEAL, Action.RETRY} & {limit.note("ip rules", look) for look in looks}


@given(TROUBLES)
def test_two_quiet_minutes_heal_everything(troubles: list[tuple[float, str]]) -> None:
    limit = HealLimit()
    now = 0.0
    for now, subject in times(troubles):
        limit.note(subject, now)
    now += 120
    assert [limit.note("ip rules", now + second) for second in range(4)] == [
        *[Action.HEAL] * 3,
        Action.GIVE_IN,
    ]


@given(TROUBLES)
def test_giving_in_is_said_once_per_fight(troubles: list[tuple[float, str]]) -> None:
    said: dict[str, float] = {}
    last: dict[str, float] = {}
    for now, subject, action in actions(times(troubles)):
        if now - last.get(subject, now) >= 120:
            said.pop(subject, None)
        last[subject] = now
        if action is Action.GIVE_IN:
            assert subject not in said
            said[subject] = now
        assert (subject in said) == (action is not Action.HEAL)
