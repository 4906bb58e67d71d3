"""The two directories that tell the gateways of one machine apart."""

from __future__ import annotations

import argparse
from pathlib import Path

RUNTIME_DIR = Path("/run/nfq-classifier")
STATE_DIR = Path("/var/lib/nfq-classifier")


def add_directories(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runtime-dir",
        type=Path,
        default=RUNTIME_DIR,
        metavar="DIR",
        help="control socket and lock, gone after a reboot (default %(default)s)",
    )
    add_state_dir(parser)


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=STATE_DIR,
        metavar="DIR",
        help="what outlives a reboot: the uplinks' ids (default %(default)s)",
    )
