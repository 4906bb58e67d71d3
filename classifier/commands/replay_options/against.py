"""`--against`: another policy on the same flows, and where the two differ."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from classifier.commands.table import Column, render
from classifier.policy import Policy
from classifier.replay import Report, Use
from classifier.replay.against import byte_shares
from classifier.replay.report import Comparison
from classifier.report import units


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--against",
        metavar="OTHER",
        help="another configuration, asked about the same flows: what it would do differently",
    )


def data(policy: Policy, report: Report, comparison: Comparison) -> dict[str, object]:
    """What stands under `against` in the JSON."""
    other = comparison.report
    return {
        "flows": other.flows,
        "moved": comparison.moved,
        "moved_bytes": comparison.moved_bytes,
        "moves": [
            {
                "from": move.source,
                "to": move.target,
                "flows": move.amount.flows,
                "bytes": move.amount.bytes,
            }
            for move in comparison.moves
        ],
        "uplinks": {
            name: asdict(use) | extra
            for (name, use), extra in zip(
                other.uplinks.items(), _loads(comparison.policy, other).values(), strict=True
            )
        },
        "direct": _sums(other.direct),
        "dropped": _sums(other.dropped),
        "rules": [asdict(rule) for rule in other.rules],
        "sticky_breaks": _breaks(other),
        "this": {"uplinks": _loads(policy, report), "sticky_breaks": _breaks(report)},
    }


def text(policy: Policy, report: Report, names: tuple[str, str]) -> str:
    """The comparison as tables; `names` are those of the two policies."""
    comparison = report.against
    if comparison is None:
        return ""
    lead = (
        f"against {names[1]}: {comparison.moved} of {report.flows} flows go another way,"
        f" {comparison.moved_bytes} bytes\n"
        f"sticky breaks: {_breaks(report)} with {names[0]},"
        f" {_breaks(comparison.report)} with {names[1]}\n"
    )
    parts = [lead]
    if comparison.moves:
        parts.append(
            render(
                [Column("from"), Column("to"), Column("flows", True), Column("bytes", True)],
                [(m.source, m.target, m.amount.flows, m.amount.bytes) for m in comparison.moves],
            )
        )
    sides = ((names[0], policy, report), (names[1], comparison.policy, comparison.report))
    rows = [row for side in sides for row in _rows(*side)]
    titles = ("flows", "share", "bytes", "share", "busiest second", "of capacity")
    parts.append(
        render([Column("policy"), Column("uplink"), *(Column(t, right=True) for t in titles)], rows)
    )
    return "\n".join(parts)


def _rows(name: str, policy: Policy, report: Report) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    loads = _loads(policy, report)
    for uplink, use in report.uplinks.items():
        load = loads[uplink]
        peaks = [load["peak_down"] or 0, load["peak_up"] or 0]
        limits = [load["capacity_down"], load["capacity_up"]]
        parts = [f"{p / c:.1%}" for p, c in zip(peaks, limits, strict=True) if c]
        rows.append(
            (
                name,
                uplink,
                use.flows,
                f"{use.share:.2%}",
                use.bytes,
                f"{load['byte_share']:.2%}",
                " / ".join(units.rate(peak).replace("\u00a0", " ") for peak in peaks),
                " / ".join(parts),
            )
        )
    return rows


def _loads(policy: Policy, report: Report) -> dict[str, dict[str, float | None]]:
    """By uplink: its share of bytes, bytes per second of its busiest second, and its capacity."""
    if report.figures is None:
        return {}
    shares, loads = byte_shares(report), {}
    for uplink in policy.uplinks:
        load, capacity = report.figures.loads[uplink.name], uplink.capacity
        loads[uplink.name] = {
            "byte_share": shares[uplink.name],
            "peak_down": load.peak_down,
            "peak_up": load.peak_up,
            "capacity_down": None if capacity is None else capacity.down,
            "capacity_up": None if capacity is None else capacity.up,
        }
    return loads


def _breaks(report: Report) -> int:
    return 0 if report.figures is None else report.figures.sticky_breaks


def _sums(use: Use) -> dict[str, int]:
    return {"flows": use.flows, "packets": use.packets, "bytes": use.bytes}
