"""`down FILE`: remove everything of ours from the host, whoever left it."""

from __future__ import annotations

import argparse
import sys

from classifier.commands.directories import add_directories
from classifier.config import load_policy
from classifier.host.remove import remove
from classifier.queue.capabilities import require_net_admin
from classifier.service.serving import serving

HELP = "remove everything of ours from the host, whoever left it"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="configuration (TOML)")
    add_directories(parser)


def run(options: argparse.Namespace) -> int:
    load_policy(options.file)  # what is ours is known without it; a wrong file is an error still
    require_net_admin()
    holder = serving()  # known by the rules, so it has to be asked before they go
    for line in remove():
        print(f"removed {line}")
    if holder:
        print(f"still running, with nothing to classify any more: {holder}", file=sys.stderr)
    return 0
