"""`lab [FILE]`: a virtual gateway that runs the real service on the real kernel."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from classifier.commands.table import Column, render
from classifier.config import parse_policy
from classifier.errors import ConfigError, LabError, Mistake
from classifier.lab import features, python
from classifier.lab.demonstration import CONFIG
from classifier.lab.report import Report, Sent
from classifier.lab.run import Progress
from classifier.lab.run import run as run_lab

HELP = "run a virtual gateway in network namespaces, send flows through it, report their shares"

_FLOWS = 3000
_COLUMNS = 4
"""Most uplinks that a line of the report holds as columns."""
_MOST_FLOWS = 30000
_CONFIG_VARIABLE = "NFQ_CLASSIFIER_LAB_CONFIG"
"""Set in the process that has its own namespaces: the descriptor that holds the configuration."""
_DIRECTORY = Path("/run/nfq-classifier-lab")
"""On a file system of the lab's own mount namespace, so it vanishes with it."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="a configuration (default: the 2005 how-to's)"
    )
    parser.add_argument(
        "--flows", type=_flows, default=_FLOWS, metavar="N", help=f"about how many ({_FLOWS})"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(options: argparse.Namespace) -> int:
    if _CONFIG_VARIABLE not in os.environ:
        _run_in_own_namespaces(options)
    config = _configuration(options)
    seed = 1 if options.seed is None else options.seed
    with _progress() as progress:
        report = run_lab(
            config, _DIRECTORY, options.flows, seed,
            demonstration=options.file is None, progress=progress,
        )  # fmt: skip
    if options.json:
        print(json.dumps(report.data(), indent=2))
    else:
        print(_text(report, options.file or "the gateway of the 2005 how-to"), end="")
    return 0 if report.held else 1


def _flows(text: str) -> int:
    if not text.isdecimal() or not 10 <= int(text) <= _MOST_FLOWS:
        raise argparse.ArgumentTypeError(f"{text} must be an integer from 10 to {_MOST_FLOWS}")
    return int(text)


def _run_in_own_namespaces(options: argparse.Namespace) -> None:
    """Become the same command in namespaces of its own, where nothing of the host is in reach.

    The configuration goes along in memory, for /run is another place there.
    """
    path = CONFIG if options.file is None else Path(options.file)
    try:
        text = path.read_bytes()
    except OSError as error:
        mistake = Mistake(None, "", "", f"cannot be read: {error.strerror}")
        raise ConfigError(str(path), (mistake,)) from None
    if options.file is not None:
        parse_policy(text.decode("utf-8-sig", errors="replace"), options.file)
    features.require_user_namespaces()
    descriptor = os.memfd_create("configuration", 0)
    os.write(descriptor, text)
    os.environ[_CONFIG_VARIABLE] = str(descriptor)
    again = python.module("classifier", "lab", "--flows", str(options.flows))
    again += ["--json"] if options.json else []
    again += ["--seed", str(options.seed)] if options.seed is not None else []
    again += ["--", options.file] if options.file is not None else []
    command = features.own_namespaces(again)
    sys.stdout.flush()
    os.execvp(command[0], command)


def _configuration(options: argparse.Namespace) -> Path:
    """The configuration as a file of the lab's own."""
    try:
        descriptor = int(os.environ.pop(_CONFIG_VARIABLE))
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(descriptor, "rb") as memory:
            text = memory.read()
    except (ValueError, OSError) as error:
        raise LabError(f"{_CONFIG_VARIABLE} is for the lab's own use: {error}") from error
    _DIRECTORY.mkdir()
    config = _DIRECTORY / (Path(options.file).name if options.file else CONFIG.name)
    config.write_bytes(text)
    return config


@contextmanager
def _progress() -> Iterator[Progress]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update


def _text(report: Report, title: str) -> str:
    named = [name for sent in report.sent for name in (*sent.wanted, *sent.got)]
    uplinks = list(dict.fromkeys([*report.uplinks, *named]))
    tabulate = _by_columns if len(uplinks) <= _COLUMNS else _by_lines
    promises = [
        ({True: "yes", False: "NO", None: "-"}[promise.held], promise.text, promise.found)
        for promise in report.promises
    ]
    return (
        "".join(f"warning: {text}\n" for text in report.warnings)
        + f"{title}: {sum(sent.flows for sent in report.sent)} flows in {report.seconds:.1f} s\n\n"
        + tabulate(report.sent, uplinks)
        + "\n"
        + render([Column("held"), Column("promise"), Column("found")], promises)
    )


def _by_columns(kinds: Sequence[Sent], uplinks: Sequence[str]) -> str:
    """One row for each kind of flow, with what it got of what was wanted of each uplink."""
    columns = [Column("got of wanted"), Column("flows", right=True)]
    columns += [Column(name, right=True) for name in (*uplinks, "lost")]
    rows = [
        (sent.what, sent.flows, *(_share(sent, name) for name in uplinks), sent.lost)
        for sent in kinds
    ]
    return render(columns, rows)


def _share(sent: Sent, name: str) -> str:
    wanted, got = sent.wanted.get(name, 0), sent.got.get(name, 0)
    return f"{got} of {wanted:.0f}" if wanted or got else ""


def _by_lines(kinds: Sequence[Sent], uplinks: Sequence[str]) -> str:
    """One row for each kind of flow and uplink, where there are too many uplinks for columns."""
    columns = [Column("flows of"), Column("went by")]
    columns += [Column(name, right=True) for name in ("wanted", "got", "share")]
    rows: list[tuple[object, ...]] = []
    for sent in kinds:
        counts = [(name, sent.wanted.get(name, 0), sent.got.get(name, 0)) for name in uplinks]
        if sent.lost:
            counts.append(("(lost)", 0, sent.lost))
        used = [count for count in counts if count[1] or count[2]]
        if not used:
            rows.append((sent.what, "(no flow met it)", "", "", ""))
        for number, (name, wanted, got) in enumerate(used):
            what = "" if number else sent.what
            rows.append((what, name, f"{wanted:.0f}", got, f"{100 * got / sent.flows:.1f} %"))
    return render(columns, rows)
