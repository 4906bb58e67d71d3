"""The two directories that each gateway on a machine needs for itself."""

from __future__ import annotations

import argparse
from pathlib import Path

RUNTIME_DIR = Path("/run/nfq-classifier")
STATE_DIR = Path("/var/lib/nfq-classifier")


def add_directories(parser: argparse.ArgumentParser) -> None:
    add_runtime_dir(parser)
    add_state_dir(parser)


def add_runtime_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runtime-dir",
        type=Path,
        default=RUNTIME_DIR,
        metavar="DIR",
        help="directory of control socket and lock (default %(default)s)",
    )


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=STATE_DIR,
        metavar="DIR",
        help="directory of what survives a reboot: uplink ids (default %(default)s)",
    )
