"""Plots: shapes as SVG that stretches with the page, and their words as HTML that does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from classifier.policy import Capacity
from classifier.replay.figures import Load
from classifier.report.markup import text
from classifier.report.units import bit_rate as unit_for
from classifier.report.units import duration, percent, rate, time_marks, value_step
from classifier.report.ways import Ways

_UNITS = 1000
"""Of an SVG's height, and of the width of a span."""
_FAR = 4
"""A capacity that is more than so many times the load is named instead of drawn."""
_LEAST_HALF = 0.12
"""Of a load plot's height that the direction with less load gets."""


@dataclass(frozen=True, slots=True)
class Bins:
    """Spans of time put together to few enough for columns."""

    seconds: float
    """Of one bin."""
    values: Mapping[str, Sequence[int]]
    """By way."""

    @property
    def count(self) -> int:
        return max((len(values) for values in self.values.values()), default=0)

    def between(self, number: int) -> str:
        return f"{duration(number * self.seconds)} to {duration((number + 1) * self.seconds)}"


def binned(values: Mapping[str, Sequence[int]], span: float, most: int = 60) -> Bins:
    """Sums of neighbours, so that there are at most `most`; `span` is the seconds of one value."""
    longest = max((len(series) for series in values.values()), default=0)
    each = max(1, -(-longest // most))
    return Bins(
        span * each,
        {
            way: [sum(series[i : i + each]) for i in range(0, len(series), each)]
            for way, series in values.items()
        },
    )


def coarser(
    loads: Mapping[str, Load], span: float, most: int = 240
) -> tuple[dict[str, Load], float]:
    """Loads in spans of a second or more, at most so many, and the seconds of these: the mean of a
    shorter one could be more than the busiest second."""
    longest = max(len(load.flows) for load in loads.values())
    each = max(math.ceil(1 / span - 1e-9), -(-longest // most))

    def grouped(values: Sequence[int], joined: Callable[[Sequence[int]], int]) -> tuple[int, ...]:
        return tuple(joined(values[i : i + each]) for i in range(0, len(values), each))

    return {
        way: Load(
            flows=grouped(load.flows, sum),
            down=grouped(load.down, sum),
            up=grouped(load.up, sum),
            busiest_down=grouped(load.busiest_down, max),
            busiest_up=grouped(load.busiest_up, max),
        )
        for way, load in loads.items()
    }, span * each


def share_columns(bins: Bins, ways: Ways, what: str) -> str:
    """Columns of one height, divided as the ways share in each span; nothing where nothing was."""
    columns = []
    for number in range(bins.count):
        parts = {way: series[number] for way, series in bins.values.items() if series[number]}
        total, below = sum(parts.values()), 0.0
        rects, words = [], []
        for way, value in parts.items():
            height = value / total * _UNITS
            top = _UNITS - below - height
            rects.append(_rect(ways.style(way), number * _UNITS, top, height))
            words.append(f"{ways.title(way)} {percent(value / total)}")
            below += height
        if rects:
            title = text(f"{bins.between(number)}: {', '.join(words)} of {what}")
            columns.append(f"<g><title>{title}</title>{''.join(rects)}</g>")
    marks = {part: percent(part).replace(".0", "") for part in (0.0, 0.25, 0.5, 0.75, 1.0)}
    grid = "".join(_level("grid", bins.count, (1 - part) * _UNITS) for part in marks)
    svg = _svg(f"Shares of {what} over time", bins.count, grid + "".join(columns))
    return _framed(marks, svg, bins.count * bins.seconds)


def load_plot(load: Load, span: float, capacity: Capacity | None, style: str) -> str:
    """Load of one uplink: down above the line and up below it, filled the mean of each span, as a
    line its busiest second, dashed the capacity."""
    top, bottom = _halves(load, capacity)
    count, whole = len(load.down), top + bottom
    unit = unit_for(max(top, bottom))

    def height(value: float) -> float:
        return (top - value) / whole * _UNITS

    shapes = []
    marks = {}
    step = value_step(whole * 8) / 8
    for number in range(-int(bottom / step), int(top / step) + 1):
        shapes.append(_level("grid" if number else "zero", count, height(number * step)))
        marks[(number * step + bottom) / whole] = unit.of(number * step)
    labels = []
    for sign, means, busiest, limit, reach in (
        (1, load.down, load.busiest_down, capacity.down if capacity else None, top),
        (-1, load.up, load.busiest_up, capacity.up if capacity else None, bottom),
    ):
        rates = [height(sign * value / span) for value in means]
        shapes.append(f'<path class="fill {style}" d="{_steps(rates, height(0))}"/>')
        shapes.append(f'<path class="busiest" d="{_line([height(sign * v) for v in busiest])}"/>')
        if limit is not None and limit <= reach:
            shapes.append(_level("capacity", count, height(sign * limit)))
            place = (sign * limit + bottom) / whole * 100
            side = "above" if sign > 0 else "below"
            labels.append(
                f'<span class="limit {side}" style="bottom:{place:.2f}%">capacity'
                f" {'down' if sign > 0 else 'up'} {text(rate(limit))}</span>"
            )
    title = (
        f"Load over time in {unit.name}: busiest second {rate(load.peak_down)} down,"
        f" {rate(load.peak_up)} up"
    )
    area = _svg(title, count, "".join(shapes)) + "".join(labels)
    return _framed(marks, area, count * span, "plot load")


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: its label and words are HTML, its parts have a style and a part, 0 to 1, each."""

    label: str
    words: str
    parts: Sequence[tuple[str, float]]


def bars(rows: Sequence[Bar]) -> str:
    lines = []
    for row in rows:
        parts = "".join(
            f'<i class="{style}" style="width:{part * 100:.2f}%"></i>'
            for style, part in row.parts
            if part
        )
        lines.append(
            f'<li><div class="label"><span>{row.label}</span><span>{row.words}</span></div>'
            f'<div class="bar" aria-hidden="true">{parts}</div></li>'
        )
    return f'<ul class="bars">{"".join(lines)}</ul>'


def unit_of(load: Load, capacity: Capacity | None) -> str:
    """In which unit a load plot's axis is."""
    return unit_for(max(_halves(load, capacity))).name


def left_out(load: Load, capacity: Capacity) -> list[str]:
    """The capacities that lie beyond a load plot, in words."""
    top, bottom = _halves(load, capacity)
    limits = ((capacity.down, top, "down"), (capacity.up, bottom, "up"))
    return [f"{rate(limit)} {way}" for limit, reach, way in limits if limit > reach]


def _halves(load: Load, capacity: Capacity | None) -> tuple[float, float]:
    """How far a load plot's axis goes up and down, in bytes per second."""
    top, bottom = (
        max(peak, limit if limit and limit <= peak * _FAR else 0) * 1.08
        for peak, limit in (
            (load.peak_down, capacity.down if capacity else None),
            (load.peak_up, capacity.up if capacity else None),
        )
    )
    return max(top, bottom * _LEAST_HALF, 1), max(bottom, top * _LEAST_HALF, 1)


def _framed(marks: Mapping[float, str], area: str, seconds: float, style: str = "plot") -> str:
    """Axes around a plot; `marks` are at parts of its height, 0 below."""
    levels = "".join(
        f'<span style="bottom:{part * 100:.2f}%">{text(words)}</span>'
        for part, words in marks.items()
    )
    times = []
    for at in time_marks(seconds):
        place = at / seconds * 100 if seconds else 0
        last = ' class="last"' if place > 95 else ""
        times.append(f'<span{last} style="left:{place:.2f}%">{text(duration(at))}</span>')
    return (
        f'<div class="{style}"><div class="y">{levels}</div><div class="area">{area}</div>'
        f'<div class="x">{"".join(times)}</div></div>'
    )


def _svg(title: str, count: int, content: str) -> str:
    box = f"0 0 {max(count, 1) * _UNITS} {_UNITS}"
    return (
        f'<svg role="img" aria-label="{text(title)}" viewBox="{box}" preserveAspectRatio="none">'
        f"{content}</svg>"
    )


def _rect(style: str, left: float, top: float, height: float) -> str:
    return (
        f'<rect class="stack {style}" x="{left:.0f}" y="{top:.1f}" width="{_UNITS}"'
        f' height="{height:.1f}"/>'
    )


def _level(style: str, count: int, at: float) -> str:
    return f'<line class="{style}" x1="0" x2="{count * _UNITS}" y1="{at:.1f}" y2="{at:.1f}"/>'


def _steps(heights: Sequence[float], ground: float) -> str:
    """A closed path over spans, level in each."""
    path = [f"M0 {ground:.1f}"]
    path += [f"V{height:.1f}h{_UNITS}" for height in heights]
    return "".join(path) + f"V{ground:.1f}Z"


def _line(heights: Sequence[float]) -> str:
    points = [f"{_UNITS * (i + 0.5):.0f} {height:.1f}" for i, height in enumerate(heights)]
    return "M" + "L".join(points)
