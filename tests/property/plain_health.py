"""The health of an uplink once more, from the whole record of its rounds, as documented."""

from __future__ import annotations

from statistics import fmean

from classifier.policy import Health
from classifier.uplinks import health as limits

Round = list[float | None]
"""What each target took to answer, in seconds; None: it did not."""


class PlainHealth:
    def __init__(self, health: Health, targets: int, good: bool = True) -> None:
        self.health = health
        self.need = min(health.need, targets)
        self.targets = targets
        self.rounds: list[Round] = []
        self.good = good
        self.strict = 1
        self.returned: int | None = None
        """How many rounds there were when it came back; None: it is not known to have been away."""

    def round(self, answers: Round) -> None:
        self.rounds.append(answers)
        lost, latency = self.nth_best(self.lost()), self.nth_best(self.latencies())
        slow = latency is not None and latency > self.health.latency
        enough = sorted(map(len, self.known()))[-self.need] >= self.health.down
        percent = 100 * (lost or 0) / self.health.window
        if self.good:
            if self.returned is not None and len(self.rounds) - self.returned >= limits.FLAP_MEMORY:
                self.strict, self.returned = 1, None
            if (
                self.last(self.health.down, False)
                or percent > self.health.loss
                or (slow and enough)
            ):
                self.good = False
                if self.returned is not None:
                    self.strict = min(2 * self.strict, limits.MOST_STRICT)
            return
        fast = latency is None or latency <= self.health.latency_ok
        if (
            self.last(self.health.up * self.strict, True)
            and percent <= self.health.loss_ok
            and fast
        ):
            self.good = True
            self.returned = len(self.rounds)

    def last(self, count: int, good: bool) -> bool:
        """Whether the last so many rounds were all good, or all bad."""
        return len(self.rounds) >= count and all(
            (sum(a is not None for a in answers) >= self.need) == good
            for answers in self.rounds[-count:]
        )

    def known(self) -> list[list[float]]:
        """Per target, the answers within the window."""
        window = self.rounds[-self.health.window :]
        lines = [[answers[i] for answers in window] for i in range(self.targets)]
        return [[a for a in line if a is not None] for line in lines]

    def lost(self) -> list[float | None]:
        rounds = min(len(self.rounds), self.health.window)
        return [rounds - len(line) for line in self.known()]

    def latencies(self) -> list[float | None]:
        return [fmean(line) if line else None for line in self.known()]

    def nth_best(self, values: list[float | None]) -> float | None:
        there = sorted(value for value in values if value is not None)
        return there[self.need - 1] if len(there) >= self.need else None
