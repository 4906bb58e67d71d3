"""`--report`: the report as one HTML page."""

from __future__ import annotations

import argparse

from classifier.commands.replay_options.output import Replayed, file_name
from classifier.replay.outputs import whole_file

NEEDS_FLOWS = False


def arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--report",
        metavar="OUT",
        type=file_name,
        help="write a report with plots: one HTML file that opens offline",
    )


def wanted(options: argparse.Namespace) -> bool:
    return options.report is not None


def put_out(options: argparse.Namespace, replayed: Replayed) -> None:
    from classifier.report import Subject, page

    subject = Subject(replayed.policy, options.file, options.captures, options.against or "")
    with whole_file(options.report) as file:
        file.write(page(replayed.report, subject).encode(errors="backslashreplace"))
