"""The sums for people: what `replay` prints when nothing else is asked for."""

from __future__ import annotations

import argparse

from classifier.commands.replay_options import against
from classifier.commands.replay_options.output import Replayed
from classifier.commands.table import Column, render
from classifier.replay import Report

NEEDS_FLOWS = False


def arguments(_parser: argparse._ActionsContainer) -> None:
    """None: it is what remains."""


def wanted(_options: argparse.Namespace) -> bool:
    return True


def put_out(options: argparse.Namespace, replayed: Replayed) -> None:
    print(text(replayed.report, bool(options.lan)), end="")
    if replayed.report.against is not None:
        names = options.file, options.against
        print("\n" + against.text(replayed.policy, replayed.report, names), end="")


def text(report: Report, inside_known: bool) -> str:
    """The report as tables."""
    counts = [
        ("packets", report.packets),
        ("flows", report.flows),
        ("malformed", report.malformed),
        ("untracked", report.untracked),
        ("without IP", report.without_ip),
    ]
    ways = [(name, use, f"{use.share:.2%}") for name, use in report.uplinks.items()]
    ways.append(("(direct)", report.direct, ""))
    if report.dropped.flows:
        ways.append(("(dropped)", report.dropped, ""))
    if inside_known:
        ways.append(("(inbound)", report.inbound, ""))
    numbers = [Column(title, right=True) for title in ("flows", "share", "packets", "bytes")]
    width = max(len(str(count)) for _, count in counts)
    return "\n".join(
        (
            "".join(f"{name:<10}  {count:>{width}}\n" for name, count in counts),
            render(
                [Column("uplink"), *numbers],
                [(name, use.flows, share, use.packets, use.bytes) for name, use, share in ways],
            ),
            render(
                [Column("rule"), Column("flows", right=True)],
                [(rule.name, rule.flows) for rule in report.rules],
            ),
        )
    )
