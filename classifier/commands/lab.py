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
from classifier.lab import probe
from classifier.lab.exhibition import Progress, exhibit
from classifier.lab.howto import CONFIG
from classifier.lab.outcome import Outcome, Sent

HELP = "run a virtual gateway in network namespaces, send flows through it, report their shares"

_FLOWS = 3000
_WIDE = 4
"""Most places that a line of the report holds as columns."""
_MOST_FLOWS = 30000
_INSIDE = "NFQ_CLASSIFIER_LAB_CONFIG"
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
    if _INSIDE not in os.environ:
        _enclose(options)
    config = _configuration(options)
    seed = 1 if options.seed is None else options.seed
    howto = options.file is None
    with _progress() as progress:
        outcome = exhibit(config, _DIRECTORY, options.flows, seed, howto=howto, progress=progress)
    if options.json:
        print(json.dumps(outcome.data(), indent=2))
    else:
        print(_text(outcome, options.file or "the gateway of the 2005 how-to"), end="")
    return 0 if outcome.held else 1


def _flows(text: str) -> int:
    if not text.isdecimal() or not 10 <= int(text) <= _MOST_FLOWS:
        raise argparse.ArgumentTypeError(f"{text} must be an integer from 10 to {_MOST_FLOWS}")
    return int(text)


def _enclose(options: argparse.Namespace) -> None:
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
    probe.require_user_namespaces()
    descriptor = os.memfd_create("configuration", 0)
    os.write(descriptor, text)
    os.environ[_INSIDE] = str(descriptor)
    again = [sys.executable, "-m", "classifier", "lab", "--flows", str(options.flows)]
    again += ["--json"] if options.json else []
    again += ["--seed", str(options.seed)] if options.seed is not None else []
    again += ["--", options.file] if options.file is not None else []
    command = probe.own_namespaces(again)
    sys.stdout.flush()
    os.execvp(command[0], command)


def _configuration(options: argparse.Namespace) -> Path:
    """The configuration as a file of the lab's own."""
    try:
        descriptor = int(os.environ.pop(_INSIDE))
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(descriptor, "rb") as memory:
            text = memory.read()
    except (ValueError, OSError) as error:
        raise LabError(f"{_INSIDE} is for the lab's own use: {error}") from error
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


def _text(outcome: Outcome, title: str) -> str:
    named = [name for sent in outcome.sent for name in (*sent.wanted, *sent.got)]
    places = list(dict.fromkeys([*outcome.uplinks, *named]))
    table = _wide(outcome.sent, places) if len(places) <= _WIDE else _long(outcome.sent, places)
    promises = [
        ({True: "yes", False: "NO", None: "-"}[promise.held], promise.text, promise.found)
        for promise in outcome.promises
    ]
    return (
        f"{title}: {sum(sent.flows for sent in outcome.sent)} flows in {outcome.seconds:.1f} s\n\n"
        + table
        + "\n"
        + render([Column("held"), Column("promise"), Column("found")], promises)
    )


def _wide(kinds: Sequence[Sent], places: Sequence[str]) -> str:
    """One row for each kind of flow, with what it got of what was wanted in each place."""
    columns = [Column("got of wanted"), Column("flows", right=True)]
    columns += [Column(name, right=True) for name in (*places, "lost")]
    rows = [
        (sent.what, sent.flows, *(_share(sent, name) for name in places), sent.lost)
        for sent in kinds
    ]
    return render(columns, rows)


def _share(sent: Sent, name: str) -> str:
    wanted, got = sent.wanted.get(name, 0), sent.got.get(name, 0)
    return f"{got} of {wanted:.0f}" if wanted or got else ""


def _long(kinds: Sequence[Sent], places: Sequence[str]) -> str:
    """One row for each kind of flow and place, where there are too many places for columns."""
    columns = [Column("flows of"), Column("went by")]
    columns += [Column(name, right=True) for name in ("wanted", "got", "share")]
    rows: list[tuple[object, ...]] = []
    for sent in kinds:
        counts = [(name, sent.wanted.get(name, 0), sent.got.get(name, 0)) for name in places]
        if sent.lost:
            counts.append(("(lost)", 0, sent.lost))
        used = [count for count in counts if count[1] or count[2]]
        if not used:
            rows.append((sent.what, "(no flow met it)", "", "", ""))
        for number, (name, wanted, got) in enumerate(used):
            what = "" if number else sent.what
            rows.append((what, name, f"{wanted:.0f}", got, f"{100 * got / sent.flows:.1f} %"))
    return render(columns, rows)
