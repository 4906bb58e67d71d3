"""What happens by the time of the captures: uplinks fail and return, as if steered by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol, get_args

from classifier.config.reading import WrongValueError
from classifier.config.values import duration
from classifier.engine.engine import Engine
from classifier.errors import UsageError
from classifier.policy import FAMILIES, Family, Policy
from classifier.state.asked import Asked
from classifier.uplinks.endings import States, to_end, to_try_again
from classifier.uplinks.placing import place
from classifier.uplinks.state import Link, UplinkState

_FORM = 'must be "TIME UPLINK STATE", such as "120s wired down"'
_STATES: tuple[Asked, ...] = get_args(Asked)


class Script(Protocol):
    """What happens while captures are replayed, by their own time."""

    @property
    def next_at(self) -> int | None:
        """Milliseconds since the first packet at which there is something to do next."""

    def run(self, now: int) -> list[tuple[int, Family]]:
        """Do what is due at `now`; uplink ids and families whose connections end by that. Id 0:
        those on no uplink that have had no answer."""


class Together:
    """Several scripts. Connections end as the first one says: there is one set of flows."""

    def __init__(self, first: Script, *others: Script) -> None:
        self._first = first
        self._others = others

    @property
    def next_at(self) -> int | None:
        times = [script.next_at for script in (self._first, *self._others)]
        return min((time for time in times if time is not None), default=None)

    def run(self, now: int) -> list[tuple[int, Family]]:
        for script in self._others:
            if _is_due(script, now):
                script.run(now)
        return self._first.run(now) if _is_due(self._first, now) else []


def _is_due(script: Script, now: int) -> bool:
    return script.next_at is not None and script.next_at <= now


@dataclass(frozen=True, slots=True)
class UplinkEvent:
    """`uplink` is asked to be something from a time of the captures on."""

    after: int
    """Milliseconds since the first packet."""
    uplink: str
    asked: Asked
    """As `nfq-classifier uplink` takes it; in a replay "up" and "auto" are the same."""

    def __str__(self) -> str:
        return f"{self.after / 1000:g}s {self.uplink} {self.asked}"


def parse_event(text: str, policy: Policy) -> UplinkEvent:
    """From text such as "120s wired down". Raises UsageError with the value and the rule."""
    words = text.split()
    if len(words) < 3:
        raise UsageError(f"at = {text!r}: {_FORM}")
    time, name, asked = words[0], " ".join(words[1:-1]), words[-1]
    if asked not in _STATES:
        raise UsageError(f"at = {text!r}: {_FORM}; {asked!r} is no state ({', '.join(_STATES)})")
    names = [uplink.name for uplink in policy.uplinks]
    if name not in names:
        raise UsageError(
            f"at = {text!r}: the policy has no uplink {name!r} ({', '.join(names) or 'none'})"
        )
    try:
        seconds = 0.0 if time in ("0", "0s") else duration(f"{time}s" if time.isdigit() else time)
    except WrongValueError as error:
        raise UsageError(f"at = {text!r}: the time {time!r} {error}") from None
    return UplinkEvent(round(seconds * 1000), name, asked)


class UplinkScript:
    """Tells `engine` which uplinks it can use, from the start and at each of `events`.

    All are up at the start, unless `asked` says otherwise.
    """

    def __init__(
        self,
        engine: Engine,
        policy: Policy,
        events: Iterable[UplinkEvent] = (),
        asked: Mapping[str, Asked] | None = None,
    ) -> None:
        self._engine = engine
        self._policy = policy
        self._waiting = sorted(events, key=attrgetter("after"))
        self._asked = dict(asked or {})
        self._states = self._judged()
        self._use()

    @property
    def next_at(self) -> int | None:
        return self._waiting[0].after if self._waiting else None

    @property
    def waiting(self) -> tuple[UplinkEvent, ...]:
        """What has not happened yet."""
        return tuple(self._waiting)

    def run(self, now: int) -> list[tuple[int, Family]]:
        ended: list[tuple[int, Family]] = []
        while self._waiting and self._waiting[0].after <= now:
            event = self._waiting.pop(0)
            before = self._states
            self._asked[event.uplink] = event.asked
            self._states = self._judged()
            # The policy first, as on a gateway.
            self._use()
            for uplink, family in to_end(self._policy, before, self._states):
                # A flow that began just now would be put on this uplink once more.
                self._engine.forget_in_flight(uplink.name)
                ended.append((uplink.id, family))
            for back, family in to_try_again(self._policy, before, self._states):
                if back is None:
                    self._engine.forget_in_flight(None)
                    ended.append((0, family))
        return ended

    def _judged(self) -> States:
        judged = (
            UplinkState(
                uplink.name,
                family,
                Link(uplink.interface),
                asked=self._asked.get(uplink.name, "auto"),
            )
            for uplink in self._policy.uplinks
            for family in uplink.families
        )
        return {(one.name, one.family): one.state for one in judged}

    def _use(self) -> None:
        usable = {
            uplink.name: frozenset(
                f for f in FAMILIES if self._states.get((uplink.name, f)) == "up"
            )
            for uplink in self._policy.uplinks
        }
        place(self._engine, self._policy, usable)
