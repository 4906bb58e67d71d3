"""Sums: what there was, and what each uplink would have carried."""

from __future__ import annotations

from collections.abc import Iterator

from classifier.policy import DIRECT, DROP, Policy
from classifier.replay.against import byte_shares
from classifier.replay.figures import Figures, Load
from classifier.replay.report import Report, Use
from classifier.report.markup import Head, facts, name, section, table, text
from classifier.report.subject import Subject
from classifier.report.units import count, duration, moment, percent, rate, size
from classifier.report.ways import Ways

_HEADS = (
    Head("uplink", number=False), Head("flows"), Head("share of flows"), Head("packets"),
    Head("bytes"), Head("share of bytes"), Head("busiest second down"), Head("capacity down"),
    Head("busiest second up"), Head("capacity up"),
)  # fmt: skip


def summary_section(report: Report, figures: Figures, subject: Subject, ways: Ways) -> str:
    sources = ", ".join(name(source) for source in subject.sources)
    if figures.start is None:
        when = f"{duration(figures.seconds)} of simulated time"
    else:
        when = f"from {moment(figures.start)}, {duration(figures.seconds)}"
    numbers = [
        (count(report.flows), "flows"),
        (count(report.packets), "packets"),
        (size(sum(use.bytes for _, use in _uses(report))), "bytes"),
        (count(figures.sticky_breaks), "sticky breaks"),
    ]
    odd = (
        (report.malformed, "malformed packets"),
        (report.untracked, "packets of no flow"),
        (report.without_ip, "packets without IP"),
        (report.inbound.flows, "inbound flows"),
    )
    numbers += [(count(number), words) for number, words in odd if number]
    return section(
        "Summary",
        f"{sources}; {text(when)}. A sticky break is a flow that a balancer puts on another"
        " uplink than the remote's flow before, within the sticky timeout.",
        facts(numbers) + uplinks_table(report, figures, subject.policy, ways),
    )


def uplinks_table(report: Report, figures: Figures, policy: Policy, ways: Ways) -> str:
    shares = byte_shares(report)
    rows = []
    for way, use in _uses(report):
        placed = way in report.uplinks
        sums = [
            ways.key(way),
            count(use.flows),
            percent(use.share) if placed else "",
            count(use.packets),
            size(use.bytes),
            percent(shares[way]) if placed else "",
        ]
        rows.append([*sums, *_peaks(figures.loads[way], policy, way)])
    return table("What each uplink would have carried", _HEADS, rows)


def _uses(report: Report) -> Iterator[tuple[str, Use]]:
    """Of every way: the uplinks, then direct and dropped flows where there are any."""
    yield from report.uplinks.items()
    for way, use in ((DIRECT, report.direct), (DROP, report.dropped)):
        if use.flows:
            yield way, use


def _peaks(load: Load, policy: Policy, way: str) -> list[str]:
    """Busiest second, with its part of the capacity, and the capacity; down, then up."""
    capacity = None if way in (DIRECT, DROP) else policy.uplink(way).capacity
    down, up = (capacity.down, capacity.up) if capacity is not None else (None, None)
    cells = []
    for peak, limit in ((load.peak_down, down), (load.peak_up, up)):
        part = f" ({percent(peak / limit)})" if limit else ""
        cells += [rate(peak) + part, rate(limit) if limit else ""]
    return cells
