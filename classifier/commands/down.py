"""`down FILE`: remove everything of ours from the host, whoever left it."""

from __future__ import annotations

import argparse

from classifier.config import load_policy
from classifier.host.remove import remove

HELP = "remove everything of ours from the host, whoever left it"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the configuration, in TOML")
    parser.add_argument(
        "--runtime-dir",
        default="/run/nfq-classifier",
        metavar="DIR",
        help="runtime directory of the service (default %(default)s)",
    )
    parser.add_argument(
        "--state-dir",
        default="/var/lib/nfq-classifier",
        metavar="DIR",
        help="where uplink ids are stored; they are kept (default %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    load_policy(options.file)  # what is ours is known without it; a wrong file is an error still
    for line in remove():
        print(f"removed {line}")
    return 0
