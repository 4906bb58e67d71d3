"""`explain FILE FLOW`: what a policy decides about a flow, and why.

A new engine decides, with every uplink up and no sticky entries; or, with `--state-dir`, one with
all that the service has stored; or, with `--live`, the running service says.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from classifier.commands.directories import add_runtime_dir
from classifier.commands.saved_state import add_saved_state, saved_state
from classifier.commands.table import paragraph
from classifier.config import load_policy
from classifier.errors import UsageError
from classifier.service.control.client import ask
from classifier.service.explain.flow import FORM, parse_flow

HELP = "explain which rule, balancer and uplink a flow would get"

_MOST_STEPS = 20
"""Rules that did not match, as printed for people: the last of them."""
_SECONDS = 30.0
"""For the service to copy its sticky entries on a slow machine."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="configuration (TOML); not needed with --live"
    )
    parser.add_argument("flow", metavar="FLOW", help=FORM)
    parser.add_argument("--json", action="store_true", help="print the decision as JSON")
    parser.add_argument("--live", action="store_true", help="ask the running service")
    add_saved_state(parser)
    add_runtime_dir(parser)


def run(options: argparse.Namespace) -> int:
    answer = _live(options) if options.live else _tried(options)
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        print(_text(answer), end="")
    return 0


def _live(options: argparse.Namespace) -> Mapping[str, Any]:
    if options.state_dir is not None or options.seed is not None:
        raise UsageError("--live: the service knows its state and its seed")
    return ask(options.runtime_dir, "POST", "/explain", {"flow": options.flow}, seconds=_SECONDS)


def _tried(options: argparse.Namespace) -> Mapping[str, Any]:
    if options.file is None:
        raise UsageError("FILE: is required without --live")
    from classifier.service.explain.explanation import explained, with_notes

    saved = saved_state(load_policy(options.file), options)
    flow = parse_flow(options.flow)
    engine = saved.engine(saved.seed or 0)
    # Methods of users may go by the time of day; those built in do not.
    engine.epoch = round(time.time() * 1000)
    found = explained(saved.policy, engine, flow)
    out_of_use = (f"uplink {name} is out of use: {why}" for name, why in saved.out_of_use.items())
    return asdict(with_notes(found, *out_of_use))


def _text(answer: Mapping[str, Any]) -> str:
    return "".join(paragraph(f"{title:<10}", text) for title, text in _lines(answer))


def _lines(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "flow", answer["flow"]
    *passed, last = answer["way"] or [None]
    if last is not None and not last["takes"]:
        passed.append(last)
    if len(passed) > _MOST_STEPS:
        yield "not", f"{len(passed) - _MOST_STEPS} rules before these"
    for step in passed[-_MOST_STEPS:]:
        yield "not", f"{step['rule']}: {step['why']}"
    yield "rule", answer["rule"] or "none"
    balancer = answer["balancer"]
    yield "balancer", f"{balancer} ({answer['method']})" if balancer else "none"
    if answer["sticky"] is not None:
        yield "sticky", f"remembered for {answer['sticky']:.0f} s more"
    yield "uplink", answer["uplink"] or "none"
    yield "reason", f"{answer['reason']}: {answer['why']}"
    table = f", table {answer['table']}" if answer["table"] else ""
    yield "mark", f"0x{answer['mark']:x}{table}"
    if answer["route"]:
        yield "route", answer["route"]
    for note in answer["notes"]:
        yield "note", note
