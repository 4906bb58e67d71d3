"""How random quantities are written: `zipf:1.1`, `poisson:2000`, `pareto:1.2:10k:1g`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from classifier.errors import UsageError

LARGEST_COUNT = 1_000_000_000
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]{1,2})?)([kmg]?)", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Distribution:
    kind: Literal["constant", "exponential", "pareto", "uniform", "zipf"]
    numbers: tuple[float, ...]
    """constant: the value. exponential: the mean. pareto: shape, smallest and largest value.
    uniform: how many. zipf: exponent, how many."""


@dataclass(frozen=True, slots=True)
class _Number:
    """One of the numbers behind the name of a distribution."""

    name: str
    lowest: float
    highest: float
    default: float | None = None
    """None: it has to be given."""
    whole: bool = False


_COUNT = _Number("N", 1, LARGEST_COUNT, whole=True)
_RATE = _Number("RATE", 1e-6, 1e9)
_BYTES = _Number("BYTES", 1, 1e15, whole=True)
_REMOTES = {
    "zipf": (_Number("S", 0.01, 10), _Number("N", 1, LARGEST_COUNT, 1_000_000, whole=True)),
    "uniform": (_COUNT,),
}
_ARRIVALS = {"poisson": (_RATE,), "constant": (_RATE,)}
_SIZES = {
    "pareto": (
        _Number("SHAPE", 0.01, 100),
        _Number("SMALLEST", 1, 1e15, 10_000, whole=True),
        _Number("LARGEST", 1, 1e15, 1_000_000_000, whole=True),
    ),
    "exponential": (_Number("MEAN", 1, 1e15),),
    "constant": (_BYTES,),
}


def remotes(text: str) -> Distribution:
    """Which remote a flow goes to: ranks 1 to N, all alike or by Zipf's law. UsageError."""
    kind, numbers = _read("remotes", text, _REMOTES)
    return Distribution("zipf" if kind == "zipf" else "uniform", numbers)


def arrivals(text: str) -> Distribution:
    """Seconds from the beginning of one flow to that of the next. UsageError."""
    kind, (rate,) = _read("arrivals", text, _ARRIVALS)
    return Distribution("exponential" if kind == "poisson" else "constant", (1 / rate,))


def sizes(text: str) -> Distribution:
    """Bytes of a flow. UsageError."""
    kind, numbers = _read("bytes", text, _SIZES)
    if kind == "pareto":
        if numbers[1] >= numbers[2]:
            raise UsageError(
                f"bytes {text}: SMALLEST ({numbers[1]:.0f}) must be below LARGEST "
                f"({numbers[2]:.0f})"
            )
        return Distribution("pareto", numbers)
    return Distribution("exponential" if kind == "exponential" else "constant", numbers)


def number(text: str) -> float | None:
    """A number such as `0.5`, `1e6` or `10k`; k, m and g are thousands; None: it is none."""
    match = _NUMBER.fullmatch(text)
    return float(match[1]) * _FACTORS[match[2].lower()] if match else None


def _read(
    option: str, text: str, forms: Mapping[str, tuple[_Number, ...]]
) -> tuple[str, tuple[float, ...]]:
    kind, *given = text.split(":")
    if kind not in forms:
        written = [_written(name, numbers) for name, numbers in forms.items()]
        raise UsageError(f"{option} {text}: must be {' or '.join(written)}")
    numbers = forms[kind]
    needed = sum(expected.default is None for expected in numbers)
    if not needed <= len(given) <= len(numbers):
        raise UsageError(f"{option} {text}: must be {_written(kind, numbers)}")
    return kind, tuple(
        _value(option, text, expected, given[i] if i < len(given) else None)
        for i, expected in enumerate(numbers)
    )


def _value(option: str, text: str, expected: _Number, given: str | None) -> float:
    value = expected.default if given is None else number(given)
    if (
        value is None
        or not expected.lowest <= value <= expected.highest
        or (expected.whole and value != int(value))
    ):
        sort = "a whole number" if expected.whole else "a number"
        raise UsageError(
            f"{option} {text}: {expected.name} must be {sort} from {expected.lowest:g} to "
            f"{expected.highest:g}, not {given!r}"
        )
    return int(value) if expected.whole else value


def _written(kind: str, numbers: tuple[_Number, ...]) -> str:
    """`pareto:SHAPE[:SMALLEST[:LARGEST]]`"""
    text = kind
    for expected in numbers:
        text += f":{expected.name}" if expected.default is None else f"[:{expected.name}"
    return text + "]" * sum(expected.default is not None for expected in numbers)
