"""`--sweep`: every policy over every set of captures, side by side, into one table."""

from __future__ import annotations

import argparse
from contextlib import closing

from classifier.commands import progress
from classifier.errors import UsageError
from classifier.sweep import Sweep, plan
from classifier.sweep.table import csv_text

_POLICY = ".toml"


def arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("many policies over many captures")
    group.add_argument(
        "--sweep",
        action="store_true",
        help="run every policy over every CAPTURE, which is a set of its own, and print a table "
        "(CSV): FILE, and what of the rest ends in .toml, are policies, or files that name "
        "policies and values",
    )
    group.add_argument(
        "--out",
        metavar="TABLE",
        help="write the table there (.csv, .parquet); what it has already is not run again",
    )
    group.add_argument(
        "--jobs", metavar="N", type=_jobs, help="processes at once (default: one for each core)"
    )
    group.add_argument(
        "--dask", metavar="ADDRESS", help="use the workers of this Dask scheduler instead"
    )


def wanted(options: argparse.Namespace) -> bool:
    if not options.sweep:
        for option in ("out", "jobs", "dask"):
            if getattr(options, option) is not None:
                raise UsageError(f"--{option}: only together with --sweep")
    return bool(options.sweep)


def run(options: argparse.Namespace) -> int:
    """Do the sweep; 1 if a task has failed. Each that does is named on stderr."""
    policies = [options.file, *(path for path in options.captures if path.endswith(_POLICY))]
    captures = [path for path in options.captures if not path.endswith(_POLICY)]
    if not captures:
        raise UsageError(f"--sweep: no CAPTURE is given; what ends in {_POLICY} is a policy")
    sweep = Sweep(
        plan(
            policies,
            captures,
            seed=options.seed or 0,
            lan=options.lan,
            in_interface=options.in_interface,
            at=options.at,
        ),
        options.out,
    )
    failed = False
    finished = len(sweep.tasks) - len(sweep.left)
    with (
        progress.shown("sweep", len(sweep.tasks), done=finished) as bar,
        closing(sweep.run(options.jobs, options.dask)) as done,
    ):
        for number, (task, outcome) in enumerate(done, finished + 1):
            if outcome.error is not None:
                failed = True
                bar.tell(f"nfq-classifier: {task.name}: {outcome.error}")
            elif outcome.row["method_failures"]:
                bar.tell(f"nfq-classifier: {task.name}: {outcome.row['method_error']}")
            bar.reach(number)
    if options.out is None:
        print(csv_text(sweep.rows()), end="")
    return 1 if failed else 0


def _jobs(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"{text} must be an integer from 1 to 4096")
    return int(text)
