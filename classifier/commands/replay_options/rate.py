"""`--rate`: how fast the captures were read and decided."""

from __future__ import annotations

import argparse
import sys

from classifier.commands.replay_options.output import Replayed

NEEDS_FLOWS = False


def arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--rate",
        action="store_true",
        help="tell how fast it was: packets and flows per second (on standard error; in the JSON"
        " with --json)",
    )


def wanted(options: argparse.Namespace) -> bool:
    return bool(options.rate and not options.json)


def put_out(_options: argparse.Namespace, replayed: Replayed) -> None:
    figures = rate(replayed)
    print(
        f"{replayed.report.packets:,} packets and {replayed.report.flows:,} flows of"
        f" {figures['capture_seconds']:,.3f} s in {figures['seconds']:,.3f} s:"
        f" {figures['packets_per_second']:,.0f} packets/s,"
        f" {figures['flows_per_second']:,.0f} flows/s",
        file=sys.stderr,
    )


def rate(replayed: Replayed) -> dict[str, float]:
    """Seconds of the captures and of the clock on the wall, packets and flows by the latter."""
    seconds = max(replayed.seconds, 1e-9)
    return {
        "capture_seconds": replayed.report.seconds,
        "seconds": replayed.seconds,
        "packets_per_second": replayed.report.packets / seconds,
        "flows_per_second": replayed.report.flows / seconds,
    }
