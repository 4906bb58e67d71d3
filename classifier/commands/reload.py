"""`reload`: the running service reads its file again."""

from __future__ import annotations

import argparse

from classifier.commands.directories import add_directories
from classifier.service.control.client import ask

HELP = "ask the running service to read its file again; refused whole when it has a mistake"

_SECONDS = 60.0
"""Reading a large firewall takes its time."""


def arguments(parser: argparse.ArgumentParser) -> None:
    add_directories(parser)


def run(options: argparse.Namespace) -> int:
    ask(options.runtime_dir, "POST", "/reload", seconds=_SECONDS)
    print("reloaded")
    return 0
