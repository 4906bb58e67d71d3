"""`--annotate`: the captures with each flow's decision as a comment."""

from __future__ import annotations

import argparse

from classifier.commands.replay_options.output import Replayed, file_name
from classifier.replay.annotate import check_annotated

NEEDS_FLOWS = True


def arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--annotate",
        metavar="OUT",
        type=file_name,
        help="write the captures as pcapng, each flow's first packet commented with its decision"
        " (not from standard input)",
    )


def wanted(options: argparse.Namespace) -> bool:
    if options.annotate is None:
        return False
    check_annotated(options.captures)
    return True


def put_out(options: argparse.Namespace, replayed: Replayed) -> None:
    replayed.replay.annotate(replayed.report, options.annotate)
