"""`sticky show|forget ...`: which uplink is remembered for a remote or a host of the LAN."""

from __future__ import annotations

import argparse
import json
from typing import Any
from urllib.parse import urlencode

from classifier.commands.directories import add_directories
from classifier.commands.table import Column, render
from classifier.errors import UsageError
from classifier.service.control.client import ask

HELP = "show or forget the uplink that is remembered for an address"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", metavar="ACTION", choices=("show", "forget"), help="show, forget")
    parser.add_argument("address", metavar="ADDRESS", nargs="?", help="a remote or a LAN host")
    parser.add_argument("--local", metavar="HOST", help="of a pair: the LAN host")
    parser.add_argument("--uplink", metavar="NAME", help="forget all entries of an uplink")
    parser.add_argument("--all", action="store_true", help="forget all entries")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_directories(parser)


def run(options: argparse.Namespace) -> int:
    about = [options.address is not None, options.uplink is not None, options.all]
    if sum(about) != 1 or (options.action == "show" and options.address is None):
        raise UsageError("give one of ADDRESS, --uplink NAME and --all; show needs ADDRESS")
    answer = _asked(options)
    if options.json:
        print(json.dumps(answer))
    elif options.action == "show":
        print(_table(answer["entries"]), end="")
    else:
        print(f"forgotten: {answer['forgotten']}")
    return 0


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    words = {
        "address": options.address,
        "local": options.local,
        "uplink": options.uplink,
        "all": options.all or None,
    }
    given = {key: value for key, value in words.items() if value is not None}
    if options.action == "show":
        return ask(options.runtime_dir, "GET", f"/sticky?{urlencode(given)}")
    return ask(options.runtime_dir, "POST", "/sticky/forget", given)


def _table(entries: list[dict[str, Any]]) -> str:
    if not entries:
        return "nothing is remembered\n"
    columns = [Column("balancer"), Column("by"), Column("uplink"), Column("seconds left", True)]
    rows = [(e["balancer"], e["by"], e["uplink"], round(e["left"])) for e in entries]
    return render(columns, rows)
