"""How often something may run: a few times in a row, and after that at a steady rate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """All in seconds, except `burst`."""

    settle: float = 0.02
    """From the first request to the run, for those that come with it. Later ones do not
    prolong it."""
    burst: int = 4
    """Runs that may follow each other without a pause."""
    interval: float = 0.5
    """Between runs after that; one more of the burst comes back per interval."""
    period: float = 5.0
    """From the end of a run to the next one when nobody asks."""
    first_retry: float = 1.0
    """From a run that failed to the next try; doubles with each that fails."""
    longest_retry: float = 60.0


class Tokens:
    """A token bucket of `burst` tokens that gets one back every `interval` seconds.

    Kept as one time (the generic cell rate algorithm, ITU-T I.371): when the bucket would be full.
    """

    def __init__(self, burst: int, interval: float) -> None:
        self._head_start = (burst - 1) * interval
        self._interval = interval
        self._full_at = float("-inf")

    @property
    def ready_at(self) -> float:
        """When there is a token; a time that may have passed."""
        return self._full_at - self._head_start

    def take(self, now: float) -> None:
        self._full_at = max(self._full_at, now) + self._interval
