"""Who took the flows: the policy's rules, and the remotes."""

from __future__ import annotations

from classifier.replay.figures import Figures, RemoteUse, RuleLoad
from classifier.report import plots
from classifier.report.markup import Head, folded, name, section, table
from classifier.report.units import count, percent, size
from classifier.report.ways import Ways

_RULE_HEADS = (
    Head("rule", number=False), Head("went", number=False), Head("flows"), Head("packets"),
    Head("bytes"),
)  # fmt: skip
_REMOTE_HEADS = (Head("remote", number=False), Head("bytes"), Head("flows"),
                 Head("went", number=False))  # fmt: skip


def rules_section(figures: Figures, ways: Ways) -> str:
    shown = [rule for rule in figures.rules if rule.name is not None or rule.ways]
    totals = [_flows(rule) for rule in shown]
    largest, placed = max(totals, default=0) or 1, sum(totals) or 1
    rows = [
        plots.Bar(
            _title(rule),
            f"{count(total)} flows, {percent(total / placed)}",
            [(ways.style(way), amount.flows / largest) for way, amount in rule.ways.items()],
        )
        for rule, total in zip(shown, totals, strict=True)
    ]
    cells = [
        (
            _title(rule),
            ways.key(way),
            count(amount.flows),
            count(amount.packets),
            size(amount.bytes),
        )
        for rule in shown
        for way, amount in rule.ways.items()
    ]
    used = [way for way in figures.loads if any(way in rule.ways for rule in shown)]
    return section(
        "Rules",
        "Flows that each rule took, and where they went.",
        ways.legend(used)
        + plots.bars(rows)
        + folded("The same as a table", table("Flows by rule and way", _RULE_HEADS, cells)),
    )


def remotes_section(figures: Figures, ways: Ways) -> str:
    largest = max((remote.bytes for remote in figures.remotes), default=0) or 1
    rows, cells = [], []
    for remote in figures.remotes:
        words = ", ".join(name(ways.title(way)) for way in remote.ways)
        rows.append(
            plots.Bar(
                name(remote.address),
                f"{size(remote.bytes)}, {count(remote.flows)} flows, {words}",
                [(_style(remote, ways), remote.bytes / largest)],
            )
        )
        keys = ", ".join(ways.key(way) for way in remote.ways)
        cells.append((name(remote.address), count(remote.bytes), count(remote.flows), keys))
    lead = "The remotes with most bytes, both directions."
    if any(len(remote.ways) > 1 for remote in figures.remotes):
        lead += " Bars without a colour: by several ways."
    if not figures.remotes_exact:
        lead += " There were too many remotes to count them all: numbers are the least they had."
    used = [
        way for way in figures.loads if any(remote.ways == (way,) for remote in figures.remotes)
    ]
    return section(
        "Top remotes",
        lead,
        ways.legend(used)
        + plots.bars(rows)
        + folded("The same as a table", table("Top remotes", _REMOTE_HEADS, cells)),
    )


def _flows(rule: RuleLoad) -> int:
    return sum(amount.flows for amount in rule.ways.values())


def _title(rule: RuleLoad) -> str:
    return "(no rule: direct)" if rule.name is None else name(rule.name)


def _style(remote: RemoteUse, ways: Ways) -> str:
    return ways.style(remote.ways[0]) if len(remote.ways) == 1 else "several"
