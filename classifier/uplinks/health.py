"""Whether an uplink is good or bad, from what its probes got: a state machine without a clock.

The results of a round go in, a verdict comes out. What is counted is rounds, never seconds, so a
clock that jumps changes nothing; times are used for words only.

- A round is good when at least `need` targets answered.
- Good becomes bad after `down` bad rounds in a row, or when loss or latency is above its limit.
- Bad becomes good after `up` good rounds in a row, with loss and latency at or below their lower
  limits. Between the two limits the present verdict holds.
- Loss and latency are measured per target over the last `window` rounds, and those of the
  `need`-th best target count: a target that is dead or slow by itself condemns no uplink. Loss is
  compared with the whole window, also while it fills: the first lost probe of all is one of thirty.
- Flapping: an uplink that goes bad again within `FLAP_MEMORY` rounds of its return needs twice as
  many good rounds in a row to come back, up to `MOST_STRICT` times as many. It is forgotten when
  the uplink has been good for `FLAP_MEMORY` rounds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from classifier.policy import Health

FLAP_MEMORY = 300
MOST_STRICT = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe of one target got."""

    seconds: float | None
    """From asking to the answer; None: there was none that counts."""
    failure: str = ""
    """Why, for people."""


@dataclass(frozen=True, slots=True)
class Verdict:
    good: bool
    reason: str
    """In words, such as "2 of 3 targets silent since 12:03:05"."""
    loss: float | None = None
    """0 to 1, over the window; None before the first round."""
    latency: float | None = None
    """Seconds, over the window; None where nothing answered."""
    flapping: bool = False


class HealthMachine:
    """The health of one uplink and family; `targets` is how many are asked in each round."""

    def __init__(self, health: Health, targets: int, *, good: bool = True) -> None:
        """`good` is what it was last known to be; a new uplink is good until shown otherwise."""
        self._limits = health
        self._need = min(health.need, targets)
        self._windows = [_Window(health.window) for _ in range(targets)]
        self._good = good
        self._in_a_row = 0
        """Rounds that were all like the last one; they began at `_streak_began`."""
        self._last_round_good = good
        self._streak_began: float | None = None
        self._good_rounds = FLAP_MEMORY
        """Since it came back; no more than that are counted."""
        self._strictness = 1
        self.verdict = Verdict(good, "not probed yet" if good else "was down before the start")

    def round(self, answers: Sequence[Answer], now: float) -> Verdict:
        """The verdict after one more round; `answers` in the order of the targets.

        `now`: seconds since 1970, when the round began.
        """
        for window, answer in zip(self._windows, answers, strict=True):
            window.add(answer.seconds)
        answered = sum(answer.seconds is not None for answer in answers)
        self._count(answered >= self._need, now)
        if self._good:
            self._remember_good_round()
            if self._beyond_limits():
                self._fall()
        elif self._recovered():
            self._good = True
            self._good_rounds = 0
        self.verdict = Verdict(
            self._good,
            self._reason(answered),
            self._nth_best([window.loss for window in self._windows]),
            self._latency(),
            flapping=self._strictness > 1,
        )
        return self.verdict

    def _count(self, good: bool, now: float) -> None:
        if good == self._last_round_good and self._streak_began is not None:
            self._in_a_row += 1
        else:
            self._in_a_row = 1
            self._streak_began = now
        self._last_round_good = good

    def _remember_good_round(self) -> None:
        self._good_rounds = min(self._good_rounds + 1, FLAP_MEMORY)
        if self._good_rounds == FLAP_MEMORY:
            self._strictness = 1

    def _fall(self) -> None:
        self._good = False
        if self._good_rounds < FLAP_MEMORY:
            self._strictness = min(2 * self._strictness, MOST_STRICT)

    def _beyond_limits(self) -> bool:
        limits, latency = self._limits, self._latency()
        if self._silent() or self._lost() * 100 > limits.loss * limits.window:
            return True
        measured = sorted(window.answered for window in self._windows)[-self._need]
        return latency is not None and latency > limits.latency and measured >= limits.down

    def _recovered(self) -> bool:
        return (
            self._last_round_good
            and self._in_a_row >= self._rounds_to_return()
            and not self._lossy()
            and not self._slow()
        )

    def _silent(self) -> bool:
        return not self._last_round_good and self._in_a_row >= self._limits.down

    def _lossy(self) -> bool:
        return self._lost() * 100 > self._limits.loss_ok * self._limits.window

    def _slow(self) -> bool:
        latency = self._latency()
        return latency is not None and latency > self._limits.latency_ok

    def _rounds_to_return(self) -> int:
        return self._limits.up * self._strictness

    def _reason(self, answered: int) -> str:
        """Why the verdict is what it is, or what a bad uplink still lacks."""
        count = len(self._windows)
        if self._good:
            return f"{answered} of {count} targets answer"
        since = time.strftime("%H:%M:%S", time.localtime(self._streak_began))
        if not self._silent():
            if self._lossy():
                lost = 100 * self._lost() / self._limits.window
                return f"loss {lost:.0f}%, comes back at {self._limits.loss_ok}%"
            if self._slow():
                now, then = _duration_text(self._latency()), _duration_text(self._limits.latency_ok)
                return f"latency {now}, comes back at {then}"
        if not self._last_round_good:
            return f"{count - answered} of {count} targets silent since {since}"
        flapping = ", more than usual because it is flapping" if self._strictness > 1 else ""
        return (
            f"answers again since {since}, {self._in_a_row} of {self._rounds_to_return()} "
            f"good rounds in a row{flapping}"
        )

    def _lost(self) -> int:
        """Probes lost in the window, by the `need`-th best target."""
        return sorted(window.lost for window in self._windows)[self._need - 1]

    def _latency(self) -> float | None:
        return self._nth_best([window.latency for window in self._windows])

    def _nth_best(self, values: Sequence[float | None]) -> float | None:
        """The `need`-th lowest; None where fewer targets have a value."""
        known = sorted(value for value in values if value is not None)
        return known[self._need - 1] if len(known) >= self._need else None


class _Window:
    """What one target answered in the last rounds."""

    def __init__(self, rounds: int) -> None:
        self._results: deque[float | None] = deque(maxlen=rounds)

    def add(self, seconds: float | None) -> None:
        self._results.append(seconds)

    @property
    def lost(self) -> int:
        return self._results.count(None)

    @property
    def answered(self) -> int:
        return len(self._results) - self.lost

    @property
    def loss(self) -> float | None:
        return self.lost / len(self._results) if self._results else None

    @property
    def latency(self) -> float | None:
        """The mean of what was answered, in seconds."""
        known = [seconds for seconds in self._results if seconds is not None]
        return fmean(known) if known else None


def _duration_text(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{1000 * seconds:.0f}ms"
