"""`--flows`: each flow as a line of JSON."""

from __future__ import annotations

import argparse

from classifier.commands.replay_options.output import Replayed
from classifier.replay.flow_formats import json_lines

NEEDS_FLOWS = True


def arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--flows",
        action="store_true",
        help="print each flow as a line of JSON, in order of the first packets",
    )


def wanted(options: argparse.Namespace) -> bool:
    return bool(options.flows)


def put_out(_options: argparse.Namespace, replayed: Replayed) -> None:
    for line in json_lines(replayed.report):
        print(line)
