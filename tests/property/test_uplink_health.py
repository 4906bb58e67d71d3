"""Whatever a line went through: it comes back once it answers, and each change has its cause."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from classifier.policy import Health, Target
from classifier.uplinks.health import FLAP_MEMORY, MOST_STRICT, Answer, HealthMachine

QUICK = Answer(0.01)
answers = st.one_of(
    st.just(Answer(None, "no answer")),
    st.just(QUICK),
    st.floats(0.0, 3.0).map(Answer),
)


@st.composite
def limits(draw: st.DrawFn) -> Health:
    count = draw(st.integers(1, 4))
    loss, latency = draw(st.integers(1, 100)), draw(st.floats(0.02, 2.0))
    return Health(
        "icmp",
        tuple(Target(f"192.0.2.{i}", f"192.0.2.{i}") for i in range(count)),
        down=draw(st.integers(1, 10)),
        up=draw(st.integers(1, 10)),
        need=draw(st.integers(1, count)),
        window=draw(st.integers(1, 40)),
        loss=loss,
        loss_ok=draw(st.integers(0, loss)),
        latency=latency,
        latency_ok=draw(st.floats(0.01, latency)),
    )


def rounds_of(health: Health) -> st.SearchStrategy[list[Answer]]:
    return st.lists(answers, min_size=len(health.targets), max_size=len(health.targets))


class YearOfALine(RuleBasedStateMachine):
    """A machine under any limits, held against the plain record of all rounds so far."""

    @initialize(health=limits(), good=st.booleans())
    def start(self, health: Health, good: bool) -> None:
        self.health = health
        self.judge = HealthMachine(health, len(health.targets), good=good)
        self.record: list[list[Answer]] = []
        self.was_good = good

    @rule(data=st.data())
    def one_round(self, data: st.DataObject) -> None:
        self.feed(data.draw(rounds_of(self.health)))

    @rule(count=st.integers(1, 60))
    def outage(self, count: int) -> None:
        for _ in range(count):
            self.feed([Answer(None, "no answer")] * len(self.health.targets))

    @rule(count=st.integers(1, 400))
    def calm(self, count: int) -> None:
        for _ in range(count):
            self.feed([QUICK] * len(self.health.targets))

    @rule()
    def it_comes_back_however_it_was_treated_before(self) -> None:
        for _ in range(max(self.health.up * MOST_STRICT, self.health.window)):
            self.feed([QUICK] * len(self.health.targets))
        assert self.judge.verdict.good

    @invariant()
    def loss_is_a_share_and_reasons_are_words(self) -> None:
        if not hasattr(self, "judge"):
            return
        verdict = self.judge.verdict
        assert verdict.reason and "None" not in verdict.reason
        assert (verdict.loss is None) == (not self.record)
        assert verdict.loss is None or 0 <= verdict.loss <= 1

    def feed(self, answered: list[Answer]) -> None:
        self.record.append(answered)
        good = self.judge.round(answered, float(len(self.record))).good
        if good and not self.was_good:
            assert all(self.is_good(one) for one in self.record[-self.health.up :])
            assert len(self.record) >= self.health.up
            assert self.lost() * 100 <= self.health.loss_ok * self.health.window
            assert self.latency() <= self.health.latency_ok
        elif self.was_good and not good:
            silent = len(self.record) >= self.health.down and not any(
                self.is_good(one) for one in self.record[-self.health.down :]
            )
            lossy = self.lost() * 100 > self.health.loss * self.health.window
            assert silent or lossy or self.latency() > self.health.latency
        self.was_good = good

    def is_good(self, answered: list[Answer]) -> bool:
        return sum(one.seconds is not None for one in answered) >= self.health.need

    def by_target(self) -> list[list[float | None]]:
        window = self.record[-self.health.window :]
        return [[one[i].seconds for one in window] for i in range(len(self.health.targets))]

    def lost(self) -> int:
        return sorted(line.count(None) for line in self.by_target())[self.health.need - 1]

    def latency(self) -> float:
        means: list[float] = []
        for line in self.by_target():
            known: list[Any] = [seconds for seconds in line if seconds is not None]
            means += [fmean(known)] if known else []
        return sorted(means)[self.health.need - 1]


TestYearOfALine = YearOfALine.TestCase


@given(limits(), st.integers(1, 20))
def test_after_a_quiet_time_nothing_is_left_of_any_number_of_flaps(
    health: Health, flaps: int
) -> None:
    judge = HealthMachine(health, len(health.targets))
    quiet = [QUICK] * len(health.targets)
    for _ in range(flaps):
        for _ in range(health.down):
            judge.round([Answer(None, "no answer")] * len(health.targets), 0.0)
        for _ in range(max(health.up * MOST_STRICT, health.window)):
            judge.round(quiet, 0.0)
    for _ in range(FLAP_MEMORY):
        judge.round(quiet, 0.0)
    assert judge.verdict.good and not judge.verdict.flapping
