"""What happened when: shares, and the load of each uplink."""

from __future__ import annotations

from collections.abc import Sequence

from classifier.policy import Capacity, Policy, Uplink
from classifier.replay.figures import Figures, Load
from classifier.report import plots
from classifier.report.markup import Head, figure, folded, section, table, text
from classifier.report.units import count, duration, rate, size
from classifier.report.ways import Ways

_LEGEND_OF_LOAD = (
    '<ul class="legend"><li><i class="line"></i>busiest second</li>'
    '<li><i class="dash"></i>capacity</li></ul>'
)


def shares_section(figures: Figures, ways: Ways) -> str:
    shown = [way for way, load in figures.loads.items() if any(load.flows)]
    if not shown:
        return section("Shares over time", "No flow started.", "")
    loads = figures.loads
    flows = plots.binned({way: loads[way].flows for way in shown}, figures.span)
    sizes = plots.binned({way: _both(loads[way]) for way in shown}, figures.span)
    heads = [Head("from", number=False)]
    heads += [Head(f"{ways.title(way)}, {what}") for way in shown for what in ("flows", "bytes")]
    rows = []
    for number in range(flows.count):
        cells = [text(duration(number * flows.seconds))]
        for way in shown:
            cells += [count(flows.values[way][number]), size(sizes.values[way][number])]
        rows.append(cells)
    return section(
        "Shares over time",
        f"Each column is {text(duration(flows.seconds))}, counted from the start.",
        ways.legend(shown)
        + '<div class="two">'
        + figure("Share of new flows", plots.share_columns(flows, ways, "flows"))
        + figure("Share of bytes", plots.share_columns(sizes, ways, "bytes"))
        + "</div>"
        + folded("The same as a table", table("New flows and bytes over time", heads, rows)),
    )


def load_section(title: str, figures: Figures, policy: Policy, ways: Ways) -> str:
    """Load of each uplink against its capacity."""
    loads, span = plots.coarser(figures.loads, figures.span)
    pictures = "".join(
        figure(
            _caption(uplink, loads[uplink.name], ways),
            plots.load_plot(loads[uplink.name], span, uplink.capacity, ways.style(uplink.name)),
        )
        for uplink in policy.uplinks
    )
    return section(
        title,
        f"Down above the line, up below it. Filled: the mean of {text(duration(span))}.",
        _LEGEND_OF_LOAD
        + f'<div class="two">{pictures}</div>'
        + folded("The same as a table", _load_table(figures, policy)),
    )


def _load_table(figures: Figures, policy: Policy) -> str:
    heads = [Head("from", number=False)]
    series: dict[str, Sequence[int]] = {}
    for uplink in policy.uplinks:
        load = figures.loads[uplink.name]
        series |= {f"{uplink.name}, down": load.down, f"{uplink.name}, up": load.up}
    heads += [Head(title) for title in series]
    bins = plots.binned(series, figures.span)
    rows = [
        (
            text(duration(number * bins.seconds)),
            *(rate(values[number] / bins.seconds) for values in bins.values.values()),
        )
        for number in range(bins.count)
    ]
    return table("Mean load over time", heads, rows)


def _both(load: Load) -> list[int]:
    return [down + up for down, up in zip(load.down, load.up, strict=True)]


def _caption(uplink: Uplink, load: Load, ways: Ways) -> str:
    """Name, unit of the axis, and the numbers that the plot shows or leaves out."""
    peaks = f"busiest second {rate(load.peak_down)} down, {rate(load.peak_up)} up"
    unit = plots.unit_of(load, uplink.capacity)
    return f"{ways.key(uplink.name)}, in {unit}; {peaks}{_left_out(load, uplink.capacity)}"


def _left_out(load: Load, capacity: Capacity | None) -> str:
    if capacity is None:
        return "; no capacity given"
    far = plots.left_out(load, capacity)
    return f"; capacity {' and '.join(far)} lies far beyond" if far else ""
