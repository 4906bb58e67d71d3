"""Which captures are read, who is inside in them, and which uplinks fail meanwhile."""

from __future__ import annotations

import argparse

from classifier.commands.replay_options import progress
from classifier.commands.saved_state import SavedState
from classifier.config import load_policy
from classifier.errors import CaptureError
from classifier.replay import Replay
from classifier.replay.captures import in_order_of_time


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "captures",
        metavar="CAPTURE",
        nargs="+",
        help="pcap or pcapng, also packed by gzip or zstd, or a folder of such;"
        ' "-" is standard input',
    )
    parser.add_argument(
        "--lan",
        metavar="CIDR",
        action="append",
        default=[],
        help="an inside network; only flows from inside to outside are classified (repeatable)",
    )
    parser.add_argument(
        "--in-interface",
        metavar="NAME",
        help="input interface of all flows (default: that of gateway.lan if there is only one)",
    )
    parser.add_argument(
        "--at",
        metavar="EVENT",
        action="append",
        default=[],
        help='an uplink that fails or returns, such as "120s wired down" (also up, drain, auto);'
        " time counts from the first packet (repeatable)",
    )


def read(
    options: argparse.Namespace, saved: SavedState, *, keep: bool
) -> tuple[Replay, CaptureError | None]:
    """The captures put through a policy, and what kept them from being read to their end."""
    replay = Replay(
        saved.policy,
        seed=saved.seed,
        lan=options.lan,
        in_interface=options.in_interface,
        keep=keep,
        at=options.at,
        against=saved.like(load_policy(options.against)) if options.against else None,
        watch=options.report is not None,
        number_packets=options.annotate is not None,
        asked=saved.asked_at_start,
        prepare=saved.remember,
    )
    paths = in_order_of_time(options.captures)
    with progress.shown(paths) as shown:
        for path in paths:
            try:
                replay.read(path, shown(path))
            except CaptureError as error:
                return replay, error
    return replay, None
