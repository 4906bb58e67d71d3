"""Which captures are read, and who is inside in them."""

from __future__ import annotations

import argparse

from classifier.commands.replay_options import progress
from classifier.errors import CaptureError
from classifier.policy import Policy
from classifier.replay import Replay


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "captures", metavar="CAPTURE", nargs="+", help='pcap or pcapng; "-" is standard input'
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


def read(
    options: argparse.Namespace, policy: Policy, *, keep: bool
) -> tuple[Replay, CaptureError | None]:
    """The captures put through a policy, and what kept them from being read to their end."""
    replay = Replay(
        policy, seed=options.seed, lan=options.lan, in_interface=options.in_interface, keep=keep
    )
    with progress.shown() as shown:
        for path in options.captures:
            try:
                replay.read(path, shown(path))
            except CaptureError as error:
                return replay, error
    return replay, None
