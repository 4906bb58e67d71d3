"""`replay FILE CAPTURE...`: run captures through a policy and report which flows go where."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from classifier.commands.table import Column, render
from classifier.config import load_policy
from classifier.errors import CaptureError
from classifier.replay import Replay, Report, Use

HELP = "run captures through a policy: which flows would go where"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="configuration (TOML)")
    parser.add_argument(
        "captures", metavar="CAPTURE", nargs="+", help='pcap or pcapng; "-" is standard input'
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print the summary as JSON")
    output.add_argument(
        "--flows",
        action="store_true",
        help="print each flow as a line of JSON, in order of the first packets",
    )
    parser.add_argument(
        "--lan",
        metavar="CIDR",
        action="append",
        default=[],
        help="an inside network; only flows from inside to outside are classified (repeatable)",
    )
    parser.add_argument(
        "--in-interface",
        metavar="NAME",
        help="input interface of all flows (default: that of gateway.lan if there is only one)",
    )


def run(options: argparse.Namespace) -> int:
    policy = load_policy(options.file)
    captures = Replay(
        policy,
        seed=options.seed,
        lan=options.lan,
        in_interface=options.in_interface,
        keep=options.flows,
    )
    broken: CaptureError | None = None
    with _progress(options.captures) as progress:
        for path in options.captures:
            try:
                captures.read(path, progress(path))
            except CaptureError as error:
                broken = error
                break
    report = captures.report()
    if broken is not None and report.packets == 0:
        raise broken
    if options.flows:
        for decision in report.decisions:
            print(json.dumps(asdict(decision)))
    elif options.json:
        print(json.dumps(summary(report), indent=2))
    else:
        print(text(report, bool(options.lan)), end="")
    if broken is not None:
        sys.stdout.flush()  # what could be read comes before the error
        raise broken
    return 0


def summary(report: Report) -> dict[str, object]:
    """The report as JSON."""
    return {
        "packets": report.packets,
        "flows": report.flows,
        "malformed": report.malformed,
        "uplinks": {name: asdict(use) for name, use in report.uplinks.items()},
        "direct": _sums(report.direct),
        "rules": [asdict(rule) for rule in report.rules],
        "dropped": _sums(report.dropped),
        "inbound": _sums(report.inbound),
        "untracked": report.untracked,
        "without_ip": report.without_ip,
    }


def text(report: Report, inside_known: bool) -> str:
    """The report for people."""
    counts = [
        ("packets", report.packets),
        ("flows", report.flows),
        ("malformed", report.malformed),
        ("untracked", report.untracked),
        ("without IP", report.without_ip),
    ]
    ways = [(name, use, f"{use.share:.2%}") for name, use in report.uplinks.items()]
    ways.append(("(direct)", report.direct, ""))
    if report.dropped.flows:
        ways.append(("(dropped)", report.dropped, ""))
    if inside_known:
        ways.append(("(inbound)", report.inbound, ""))
    numbers = [Column(title, right=True) for title in ("flows", "share", "packets", "bytes")]
    width = max(len(str(count)) for _, count in counts)
    return "\n".join(
        (
            "".join(f"{name:<10}  {count:>{width}}\n" for name, count in counts),
            render(
                [Column("uplink"), *numbers],
                [(name, use.flows, share, use.packets, use.bytes) for name, use, share in ways],
            ),
            render(
                [Column("rule"), Column("flows", right=True)],
                [(rule.name, rule.flows) for rule in report.rules],
            ),
        )
    )


def _sums(use: Use) -> dict[str, int]:
    return {"flows": use.flows, "packets": use.packets, "bytes": use.bytes}


@contextmanager
def _progress(paths: list[str]) -> Iterator[Callable[[str], Callable[[int], None] | None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _path: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:

        def start(path: str) -> Callable[[int], None]:
            task = bars.add_task(path, total=_size(path))
            return lambda done: bars.update(task, completed=done)

        yield start


def _size(path: str) -> int | None:
    file = Path(path)
    return file.stat().st_size if file.is_file() else None
