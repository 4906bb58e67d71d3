"""`status`: uplinks, shares, rules, queue and sticky table of the running service."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from classifier.commands.directories import add_directories
from classifier.commands.table import Column, paragraph, render
from classifier.errors import ServiceError
from classifier.service.control.client import ask

HELP = "show uplinks, shares, rules, queue and sticky table of the running service"

_CLEAR = "\x1b[H\x1b[2J"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--watch", action="store_true", help="print again every second")
    add_directories(parser)


def run(options: argparse.Namespace) -> int:
    text = _status(options)  # without a service at the start there is nothing to watch
    while True:
        if options.watch and not options.json and sys.stdout.isatty():
            sys.stdout.write(_CLEAR)
        print(text, flush=True)
        if not options.watch:
            return 0
        time.sleep(1)
        try:
            text = _status(options)
        except ServiceError as error:  # it may be restarting
            text = json.dumps({"error": str(error)}) if options.json else f"no answer: {error}"


def _status(options: argparse.Namespace) -> str:
    figures = ask(options.runtime_dir, "GET", "/status")
    return json.dumps(figures) if options.json else describe(figures)


def describe(figures: dict[str, Any]) -> str:
    """The figures as a person reads them."""
    queue, sticky = figures["queue"], figures["sticky"]
    uplinks = render(
        [
            Column("uplink"),
            Column("state"),
            Column("mark"),
            Column("table", right=True),
            Column("flows", right=True),
            Column("wanted", right=True),
            Column("got", right=True),
        ],
        [
            (
                name,
                uplink["state"],
                f"{uplink['mark']:#x}",
                uplink["table"],
                uplink["flows"],
                "-" if uplink["wanted"] is None else f"{uplink['wanted']:.1%}",
                "-" if uplink["wanted"] is None else f"{uplink['share']:.1%}",
            )
            for name, uplink in figures["uplinks"].items()
        ],
    )
    rules = render(
        [Column("rule"), Column("flows", right=True)],
        [(rule["name"], rule["flows"]) for rule in figures["rules"]],
    )
    lines = [
        f"direct flows: {figures['direct']['flows']}   dropped by rule: {figures['drop']['flows']}",
        f"queue: {queue['packets']} packets, {queue['dropped']} dropped, "
        f"{queue['unclassified']} unclassified, {queue['malformed']} malformed",
        f"sticky: {sticky['entries']} of {sticky['size']} entries",
        f"up for {figures['uptime']:.0f} s, reloaded {figures['reloads']} times, "
        f"put right {figures['healed']} times",
        *(paragraph("warning: ", warning).rstrip("\n") for warning in figures["warnings"]),
    ]
    return "\n".join((uplinks, rules, *lines))
