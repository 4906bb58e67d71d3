"""`--report`: the report as one HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from classifier.commands.replay_options.output import Replayed, file_name
from classifier.replay import Report
from classifier.replay.outputs import whole_file

if TYPE_CHECKING:
    from classifier.report import Subject

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
    from classifier.report import Subject

    subject = Subject(replayed.policy, options.file, options.captures, options.against or "")
    write(options.report, replayed.report, subject)


def write(path: Path, report: Report, subject: Subject) -> None:
    """Raises OutputError."""
    from classifier.report import page

    with whole_file(path) as file:
        file.write(page(report, subject).encode(errors="backslashreplace"))
