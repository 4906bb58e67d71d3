"""What a module that puts out a replay's report has."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from classifier.policy import Policy
from classifier.replay import Replay, Report


def file_name(text: str) -> Path:
    """An option's value that names a file to be written."""
    if text == "-":
        raise argparse.ArgumentTypeError("must be the name of a file, not standard output")
    return Path(text)


@dataclass(frozen=True, slots=True)
class Replayed:
    """A policy, and what came of the captures with it."""

    policy: Policy
    report: Report
    seconds: float
    """Wall time that reading and deciding took."""
    replay: Replay
    """What made the report."""


class Output(Protocol):
    """One form of the report, printed or written to a file."""

    NEEDS_FLOWS: bool
    """Whether it looks at `Report.decisions`; without that flows are not kept in memory."""

    def arguments(self, parser: argparse._ActionsContainer) -> None:
        """Add the options of this output; of those that print, one may be given."""

    def wanted(self, options: argparse.Namespace) -> bool:
        """Whether it was asked for; UsageError where it was and cannot be made."""

    def put_out(self, options: argparse.Namespace, replayed: Replayed) -> None: ...
