"""`plan FILE`: print what `run` would change on this host; changes nothing."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from classifier.commands.directories import add_state_dir
from classifier.config import load_policy
from classifier.errors import HostError, UsageError
from classifier.host import reading, snapshot_json
from classifier.host.conflicts import conflicts
from classifier.host.diff import diff
from classifier.host.plan import plan
from classifier.host.snapshot import Snapshot
from classifier.policy import Policy
from classifier.queue.capabilities import require_net_admin
from classifier.state.ids import stored_ids

HELP = "print what would be changed on this host, as text that can be read and diffed"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="configuration (TOML)")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument(
        "--snapshot", metavar="FILE", type=Path, help="plan for the host that this file describes"
    )
    parser.add_argument(
        "--write-snapshot", metavar="FILE", type=Path, help="describe this host in a file (JSON)"
    )
    add_state_dir(parser)


def run(options: argparse.Namespace) -> int:
    policy = stored_ids(options.state_dir, load_policy(options.file))
    snapshot = _snapshot(options.snapshot)
    if options.write_snapshot:
        _write(options.write_snapshot, snapshot)
    forecast = _forecast(policy, snapshot)
    if options.json:
        json.dump(dataclasses.asdict(forecast), sys.stdout, indent=2)
        print()
    else:
        print(_text(forecast), end="")
    return 0


@dataclasses.dataclass(frozen=True, slots=True)
class StepText:
    subject: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Forecast:
    """What `run` would do; its fields are the keys of the JSON form."""

    refusals: tuple[str, ...]
    """Why it would not start at all."""
    warnings: tuple[str, ...]
    steps: tuple[StepText, ...]


def _forecast(policy: Policy, snapshot: Snapshot) -> Forecast:
    planned = plan(policy, snapshot)
    return Forecast(
        refusals=(*planned.refusals, *conflicts(policy, snapshot, planned)),
        warnings=planned.warnings,
        steps=tuple(StepText(step.subject, step.text) for step in diff(snapshot, planned)),
    )


def _text(forecast: Forecast) -> str:
    lines: list[str] = []
    if forecast.refusals:
        lines += ["# run refuses to start:", *(f"#   {line}" for line in forecast.refusals)]
    if forecast.warnings:
        lines += ["# warnings:", *(f"#   {line}" for line in forecast.warnings)]
    if not forecast.steps:
        lines.append("nothing to do")
    elif forecast.refusals:
        lines.append("# what would be changed once that is mended:")
    subject = ""
    for step in forecast.steps:
        if step.subject != subject:
            subject = step.subject
            lines += ["", f"# {subject}"] if lines else [f"# {subject}"]
        lines.append(step.text)
    return "".join(f"{line}\n" for line in lines)


def _snapshot(path: Path | None) -> Snapshot:
    if path is None:
        require_net_admin()  # iptables tells nobody else what there is
        return reading.read()
    try:
        return snapshot_json.load(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def _write(path: Path, snapshot: Snapshot) -> None:
    try:
        path.write_text(snapshot_json.dump(snapshot))
    except OSError as error:
        raise HostError(f"{path}: cannot be written: {error.strerror}") from error
