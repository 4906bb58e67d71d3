"""Numbers as people read them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
_STEPS = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30,
    60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800,
)  # fmt: skip
"""Seconds between two marks of a time axis."""
_YEARS = 253402300800  # after these seconds a date has five figures, and Python has none


def count(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


def percent(part: float) -> str:
    return f"{part:.1%}".replace("%", "\u00a0%")


def size(value: int) -> str:
    """Bytes, with a decimal prefix."""
    number, prefix = _scaled(value)
    return f"{number}\u00a0{prefix}B"


def rate(bytes_per_second: float) -> str:
    """Bytes per second, as the bits per second that lines are sold by."""
    number, prefix = _scaled(bytes_per_second * 8)
    return f"{number}\u00a0{prefix}bit/s"


@dataclass(frozen=True, slots=True)
class BitRate:
    """The unit for all numbers of one axis."""

    prefix: str
    bits: float
    """Per second, of one unit."""

    @property
    def name(self) -> str:
        return f"{self.prefix}bit/s"

    def of(self, bytes_per_second: float) -> str:
        return f"{round(abs(bytes_per_second) * 8 / self.bits, 6):g}"


def bit_rate(largest: float) -> BitRate:
    """The unit in which `largest`, in bytes per second, is 1 to 999."""
    power = _power(largest * 8)
    return BitRate(_PREFIXES[power], 1000.0**power)


def duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{round(seconds / length, 1):g}\u00a0{unit}"
    return f"{round(seconds, 3):g}\u00a0s"


def moment(since_1970: float) -> str:
    """A date and time; seconds where they are of no calendar."""
    if not 0 <= since_1970 < _YEARS:
        return f"{since_1970:.0f} s after 1970"
    return f"{datetime.fromtimestamp(since_1970, UTC):%Y-%m-%d %H:%M:%S} UTC"


def time_marks(seconds: float) -> list[float]:
    """Where a time axis of that length has its marks: at most six."""
    step = next((step for step in _STEPS if seconds / step <= 5), None)
    if step is None:
        step = 86400 * value_step(seconds / 86400)
    return [number * step for number in range(int(seconds / step) + 1)]


def value_step(largest: float) -> float:
    """The distance of marks on an axis that reaches so far: 1, 2 or 5 times a power of ten."""
    if largest <= 0:
        return 1.0
    rough = largest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)


def _power(value: float) -> int:
    power = 0
    while value >= 1000 and power < len(_PREFIXES) - 1:
        value /= 1000
        power += 1
    return power


def _scaled(value: float) -> tuple[str, str]:
    power = _power(value)
    number = value / 1000**power
    return f"{number:.0f}" if power == 0 or number >= 100 else f"{number:.3g}", _PREFIXES[power]
