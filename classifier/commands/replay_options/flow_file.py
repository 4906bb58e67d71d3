"""`--flows-to`: the flows in a file, as JSON lines, CSV or Parquet."""

from __future__ import annotations

import argparse

from classifier.commands.replay_options.output import Replayed, file_name
from classifier.replay.flow_formats import writer

NEEDS_FLOWS = True


def arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--flows-to",
        metavar="OUT",
        type=file_name,
        help="write each flow to a file: .jsonl (as --flows), .csv or .parquet (needs pyarrow)",
    )


def wanted(options: argparse.Namespace) -> bool:
    if options.flows_to is None:
        return False
    writer(options.flows_to)  # refuses what it cannot write, before anything is read
    return True


def put_out(options: argparse.Namespace, replayed: Replayed) -> None:
    writer(options.flows_to)(replayed.report)
