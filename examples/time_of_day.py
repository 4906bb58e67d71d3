"""Some uplinks are used in some hours only: an LTE line that costs nothing at night, say.

    [balancers.all]
    method = "time_of_day:TimeOfDay"
    options = { only = { lte = "22:00-06:00" }, timezone = "Europe/Berlin" }
    uplinks = ["dsl", "lte"]

Outside its hours an uplink gets flows only if there is no other. Among those whose hours it is, the
weights decide.
"""

from __future__ import annotations

import random
from datetime import datetime, time
from zoneinfo import ZoneInfo


class TimeOfDay:
    def __init__(self, only: dict[str, str], timezone: str = "UTC") -> None:
        self._hours = {name: _hours(text) for name, text in only.items()}
        try:
            self._zone = ZoneInfo(timezone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"timezone = {timezone!r}: is not known on this host") from None

    def validate(self, uplinks: tuple[str, ...]) -> None:
        for name in self._hours:
            if name not in uplinks:
                raise ValueError(f"only.{name}: must be one of {', '.join(uplinks)}")

    def prepare(self, uplinks: tuple[str, ...], seed: int) -> None:
        self._random = random.Random(seed)

    def select(self, flow, uplinks, now):
        clock = datetime.fromtimestamp(now, self._zone).time()
        usable = [uplink for uplink in uplinks if self._in_hours(uplink.name, clock)] or uplinks
        weights = [uplink.weight for uplink in usable]
        return self._random.choices(usable, weights)[0]

    def _in_hours(self, name: str, clock: time) -> bool:
        if name not in self._hours:
            return True
        first, last = self._hours[name]
        if first <= last:
            return first <= clock < last
        return clock >= first or clock < last  # over midnight


def _hours(text: str) -> tuple[time, time]:
    try:
        first, last = (time.fromisoformat(part) for part in text.split("-"))
    except (ValueError, AttributeError):
        raise ValueError(f'{text!r}: must be hours such as "22:00-06:00"') from None
    return first, last
