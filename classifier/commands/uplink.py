"""`uplink NAME STATE`: force an uplink up or down, drain it, or leave it to its own state."""

from __future__ import annotations

import argparse
from typing import get_args
from urllib.parse import quote

from classifier.commands.directories import add_directories
from classifier.service.control.client import ask
from classifier.state.asked import Asked

HELP = "force an uplink up or down, drain it, or leave it to its own state"

_SECONDS = 60.0
"""Looking at a large firewall takes its time."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the uplink")
    parser.add_argument(
        "state",
        metavar="STATE",
        choices=get_args(Asked),
        help="up: in use whatever its probes say; down: out of use; drain: no new flows; auto",
    )
    parser.add_argument(
        "--until-restart", action="store_true", help="do not remember it over a restart"
    )
    add_directories(parser)


def run(options: argparse.Namespace) -> int:
    wanted = {"state": options.state, "until_restart": options.until_restart}
    path = f"/uplinks/{quote(options.name, safe='')}"
    uplink = ask(options.runtime_dir, "POST", path, wanted, seconds=_SECONDS)
    print(f"{options.name} is {uplink['state']}: {uplink['reason']}")
    return 0
