"""`--json`: the sums as one JSON object."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from classifier.commands.replay_options import against
from classifier.commands.replay_options.output import Replayed
from classifier.commands.replay_options.rate import rate
from classifier.replay import Report, Use

NEEDS_FLOWS = False


def arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def wanted(options: argparse.Namespace) -> bool:
    return bool(options.json)


def put_out(options: argparse.Namespace, replayed: Replayed) -> None:
    said = summary(replayed.report)
    if options.rate:
        said["rate"] = rate(replayed)
    if replayed.report.against is not None:
        said["against"] = against.data(replayed.policy, replayed.report, replayed.report.against)
    print(json.dumps(said, indent=2))


def summary(report: Report) -> dict[str, object]:
    """The report as JSON."""
    return {
        "packets": report.packets,
        "flows": report.flows,
        "malformed": report.malformed,
        "uplinks": {name: asdict(use) for name, use in report.uplinks.items()},
        "direct": _sums(report.direct),
        "rules": [asdict(rule) for rule in report.rules],
        "balancers": {name: {"errors": found.errors} for name, found in report.balancers.items()},
        "dropped": _sums(report.dropped),
        "inbound": _sums(report.inbound),
        "untracked": report.untracked,
        "without_ip": report.without_ip,
    }


def _sums(use: Use) -> dict[str, int]:
    return {"flows": use.flows, "packets": use.packets, "bytes": use.bytes}
