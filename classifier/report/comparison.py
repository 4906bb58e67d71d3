"""Two policies beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from classifier.replay.against import byte_shares
from classifier.replay.report import Comparison, Report
from classifier.report import plots
from classifier.report.markup import Head, facts, folded, name, section, table
from classifier.report.subject import Subject
from classifier.report.units import count, percent, size
from classifier.report.uplinks import uplinks_table
from classifier.report.ways import Ways

_SHARES: tuple[tuple[str, Callable[[Report], Mapping[str, float]]], ...] = (
    ("flows", lambda report: {way: use.share for way, use in report.uplinks.items()}),
    ("bytes", byte_shares),
)
_MOVES = 10
"""Rows that are shown at once."""


def comparison_section(report: Report, comparison: Comparison, subject: Subject, ways: Ways) -> str:
    other = comparison.report
    moved = comparison.moved / report.flows if report.flows else 0.0
    numbers = [
        (count(comparison.moved), f"flows go another way ({percent(moved)})"),
        (size(comparison.moved_bytes), "bytes of these"),
    ]
    for one, title in ((report, subject.name), (other, subject.other_name)):
        if one.figures is not None:
            words = f"sticky breaks with {name(title)}"
            numbers.append((count(one.figures.sticky_breaks), words))
    content = facts(numbers) + _shares(report, other, subject, ways)
    if comparison.moves:
        content += _moves(comparison, ways)
    if other.figures is not None:
        content += f"<h3>{name(subject.other_name)}</h3>"
        content += uplinks_table(other, other.figures, comparison.policy, ways)
    lead = "The same flows, decided by both policies."
    return section(f"Compared with {subject.other_name}", lead, content)


def _shares(report: Report, other: Report, subject: Subject, ways: Ways) -> str:
    """Two bars for flows and two for bytes, one per policy."""
    rows = []
    for what, shares_of in _SHARES:
        for one, title in ((report, subject.name), (other, subject.other_name)):
            shares = shares_of(one)
            words = ", ".join(f"{name(way)} {percent(share)}" for way, share in shares.items())
            parts = [(ways.style(way), share) for way, share in shares.items()]
            rows.append(plots.Bar(f"{what}, {name(title)}", words, parts))
    return plots.bars(rows)


def _moves(comparison: Comparison, ways: Ways) -> str:
    heads = (Head("from", number=False), Head("to", number=False), Head("flows"), Head("bytes"))
    rows = [
        (
            ways.key(move.source),
            ways.key(move.target),
            count(move.amount.flows),
            size(move.amount.bytes),
        )
        for move in comparison.moves
    ]
    shown = table("Flows that go another way, most first", heads, rows[:_MOVES])
    if len(rows) > _MOVES:
        shown += folded(f"{len(rows) - _MOVES} more", table("The rest", heads, rows[_MOVES:]))
    return shown
