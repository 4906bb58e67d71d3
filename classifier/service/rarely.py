"""Saying what keeps happening, but not each time."""

from __future__ import annotations

SECONDS = 60.0
"""Between two log lines about the same thing."""
_MOST_SUBJECTS = 100


class Rarely:
    """Without a clock: `now` is in seconds of one that never goes back."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def due(self, subject: str, now: float) -> bool:
        """Whether nothing was said about `subject` for `SECONDS`; then it counts as said."""
        if now - self._told.get(subject, -SECONDS) < SECONDS:
            return False
        if len(self._told) == _MOST_SUBJECTS:
            self._told.clear()
        self._told[subject] = now
        return True
