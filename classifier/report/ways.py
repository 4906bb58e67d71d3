"""The ways that flows go, each with its colour wherever it is shown."""

from __future__ import annotations

from collections.abc import Iterable

from classifier.policy import DIRECT, DROP
from classifier.report import markup
from classifier.report.style import COLOURS

_WORDS = {DIRECT: "(direct)", DROP: "(dropped)"}


class Ways:
    """Uplinks in one order, with `direct` and `drop` behind them."""

    def __init__(self, uplinks: Iterable[str]) -> None:
        self._numbers = {name: number for number, name in enumerate(dict.fromkeys(uplinks))}

    def style(self, way: str) -> str:
        """The class that gives an element the colour of a way; from the ninth uplink on the colours
        come again, striped."""
        if way in _WORDS:
            return f"w{way}"
        number = self._numbers[way]
        return f"w{number % COLOURS}" + (" striped" if number // COLOURS % 2 else "")

    def title(self, way: str) -> str:
        return _WORDS.get(way, way)

    def key(self, way: str) -> str:
        """Its colour and its name."""
        return f'<i class="key {self.style(way)}"></i>{markup.name(self.title(way))}'

    def legend(self, ways: Iterable[str]) -> str:
        return f'<ul class="legend">{"".join(f"<li>{self.key(way)}</li>" for way in ways)}</ul>'
