"""When putting the host right has become a fight with another program.

Two programs that each undo what the other does would do so for ever, many times a second. We are
the one that gives in: three times within a minute we put a thing right at once, then after pauses
that grow. The first ones are short, because a firewall that loads its rules looks like a fight too,
while it flushes one table after the other, and until we put ours back new flows go unclassified.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

HEALS = 3
WINDOW = 60.0
"""Seconds in which a thing is put right at most `HEALS` times."""
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 600.0
"""Seconds between the later tries; each pause is twice the one before."""
QUIET = 120.0
"""Seconds without trouble after which all is as if nothing had been."""


class Action(Enum):
    """What to do about a thing that is not as it should be."""

    HEAL = "heal"
    """Put it right."""
    GIVE_IN = "give in"
    """Leave it, and say so: another program changes it back. Comes once per fight."""
    LEAVE = "leave"
    """Leave it, as was said."""
    RETRY = "retry"
    """Put it right, to see whether the other has stopped; nothing new to say."""


@dataclass(slots=True)
class _Trouble:
    """With one thing."""

    noted: float
    healed: deque[float] = field(default_factory=lambda: deque(maxlen=HEALS))
    pause: float = 0.0
    """Zero until we have given in."""
    next_try: float = 0.0


class HealLimit:
    """Of each thing that is put right, a subject such as "firewall rules", on its own.

    Without a clock: `now` is in seconds of one that never goes back.
    """

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}

    def note(self, subject: str, now: float) -> Action:
        """`subject` was found wrong: what to do now. HEAL and RETRY count as done."""
        self._forget_quiet(now)
        trouble = self._troubles.setdefault(subject, _Trouble(now))
        trouble.noted = now
        if trouble.pause:
            return self._retry(trouble, now)
        if len(trouble.healed) == HEALS and now - trouble.healed[0] < WINDOW:
            trouble.pause = FIRST_PAUSE
            trouble.next_try = now + FIRST_PAUSE
            return Action.GIVE_IN
        trouble.healed.append(now)
        return Action.HEAL

    def failed(self, subject: str) -> None:
        """What `note` allowed could not be done: it does not count."""
        trouble = self._troubles.get(subject)
        if trouble and trouble.healed:
            trouble.healed.pop()

    def given_in(self, now: float) -> tuple[str, ...]:
        """The subjects that another program keeps changing, for `status`."""
        self._forget_quiet(now)
        return tuple(sorted(name for name, trouble in self._troubles.items() if trouble.pause))

    def _retry(self, trouble: _Trouble, now: float) -> Action:
        if now < trouble.next_try:
            return Action.LEAVE
        trouble.pause = min(2 * trouble.pause, LONGEST_PAUSE)
        trouble.next_try = now + trouble.pause
        return Action.RETRY

    def _forget_quiet(self, now: float) -> None:
        quiet = [name for name, one in self._troubles.items() if now - one.noted >= QUIET]
        for name in quiet:
            del self._troubles[name]
