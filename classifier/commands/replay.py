"""`replay FILE CAPTURE...`: run captures through a policy and report which flows go where."""

from __future__ import annotations

import argparse
import sys
import time

from classifier.commands.replay_options import (
    against,
    annotated,
    captures,
    flow_file,
    flow_lines,
    html_report,
    rate,
    summary_json,
    summary_text,
    sweep,
    written_over,
)
from classifier.commands.replay_options.output import Output, Replayed
from classifier.commands.saved_state import add_saved_state, saved_state
from classifier.config import load_policy
from classifier.errors import UsageError

HELP = "run captures through a policy: which flows would go where"

PRINTED: tuple[Output, ...] = (flow_lines, summary_json, summary_text)
"""What standard output may get: the first of these that is wanted."""

WRITTEN: tuple[Output, ...] = (rate, flow_file, html_report, annotated)
"""What goes to files or to stderr: all of these that are wanted, before what is printed."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="configuration (TOML)")
    captures.arguments(parser)
    against.arguments(parser)
    add_saved_state(parser)
    printed = parser.add_mutually_exclusive_group()
    for output in PRINTED:
        output.arguments(printed)
    for output in WRITTEN:
        output.arguments(parser)
    sweep.arguments(parser)


def run(options: argparse.Namespace) -> int:
    outputs = [output for output in WRITTEN if output.wanted(options)]
    outputs.append(next(output for output in PRINTED if output.wanted(options)))
    if sweep.wanted(options):
        if outputs != [summary_text] or options.against is not None:
            raise UsageError("--sweep: makes a table of its own, and nothing else")
        if options.state_dir is not None:
            raise UsageError("--sweep: its policies have no state directory")
        return sweep.run(options)
    written_over.check(options)
    saved = saved_state(load_policy(options.file), options)
    policy = saved.policy
    began = time.monotonic()
    replay, broken = captures.read(
        options, saved, keep=any(output.NEEDS_FLOWS for output in outputs)
    )
    report = replay.report()
    seconds = time.monotonic() - began
    if broken is not None and report.packets == 0:
        raise broken
    for output in outputs:
        output.put_out(options, Replayed(policy, report, seconds, replay))
    failures = report.failures()
    if report.against is not None:
        failures += [f"{options.against}: {text}" for text in report.against.report.failures()]
    for failure in failures:
        print(f"nfq-classifier: {failure}", file=sys.stderr)
    for event in replay.waiting:
        print(
            f"nfq-classifier: --at '{event}' did not happen: the captures end after"
            f" {report.seconds:g}s",
            file=sys.stderr,
        )
    if broken is not None:
        sys.stdout.flush()  # what could be read comes before the error
        raise broken
    return 0
