"""The command line: a table of subcommands, one module each, that drives parsing and help.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import importlib.util
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, Protocol, cast

from classifier.errors import ClassifierError, ConfigError, UsageError

PROGRAM = "nfq-classifier"

COMMANDS = (
    "check",
    "plan",
    "run",
    "down",
    "status",
    "reload",
    "uplink",
    "sticky",
    "explain",
    "replay",
    "simulate",
    "lab",
)
"""Each is the module classifier.commands.NAME, a `Command`; help lists them in this order."""

_EPILOG = "exit codes: 0 done, 1 failed, 2 wrong usage or configuration"
_SEEDS = 2**64
_TOO_MANY_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class Command(Protocol):
    """What the module of a subcommand has."""

    HELP: str
    """One line for the list of subcommands."""

    def arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; expected errors become text on stderr and an exit code."""
    _escape_unknown_letters()
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv))
        if sys.stdout is not None:  # None: it was closed by who started us
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone, as in `... | head`
        _forget_output()
        return 1
    except OSError as error:
        if error.errno in _TOO_MANY_FILES:
            print(f"{PROGRAM}: {error.strerror}; raise the limit (ulimit -n)", file=sys.stderr)
            return 1
        if error.errno not in _UNWRITABLE:
            raise
        _forget_output()
        print(f"{PROGRAM}: the output cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except ClassifierError as error:
        for line in str(error).splitlines():
            print(f"{PROGRAM}: {line}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError | UsageError) else 1
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        options, unknown = parser(arguments).parse_known_args(arguments)
    except SystemExit as leaving:  # argparse leaves so after --help and --version
        return leaving.code if isinstance(leaving.code, int) else 0
    if unknown:  # argparse itself would point to the help of the whole program
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return cast(int, options.run(options))


def _escape_unknown_letters() -> None:
    """Write letters that the locale does not have as escapes, as stderr does, without an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """What is still in the buffer would fail once more at Python's exit, which complains then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises `UsageError` where argparse would exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\nsee {self.prog} --help")


class _Version(argparse.Action):
    """Prints the version; it is looked up then only, because that takes longer than all parsing."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib import metadata

        print(f"{PROGRAM} {metadata.version(PROGRAM)}")
        parser.exit()


def parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for a command line: with all commands, or only the one that `argv` names."""
    whole = _Parser(
        prog=PROGRAM,
        description="Balances new flows of a Linux gateway over its uplinks.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action=_Version, nargs=0, help="print the version")
    subparsers = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in _wanted(argv):
        command = cast(Command, importlib.import_module(f"classifier.commands.{name}"))
        subparser = subparsers.add_parser(
            name, help=command.HELP, description=command.HELP, epilog=_EPILOG, allow_abbrev=False
        )
        command.arguments(subparser)
        subparser.add_argument(
            "--seed", type=_seed, metavar="N", help="make random decisions repeatable"
        )
        subparser.set_defaults(run=command.run, parser=subparser)
    return whole


def _wanted(argv: Sequence[str]) -> Sequence[str]:
    """Only the command in `argv`, so that it does not wait for the imports of the others."""
    first = next((argument for argument in argv if not argument.startswith("-")), None)
    if first in COMMANDS:
        return (first,)
    return [n for n in COMMANDS if importlib.util.find_spec(f"classifier.commands.{n}")]


def _seed(text: str) -> int:
    try:
        seed = int(text, 0)
    except ValueError:
        seed = -1
    if not 0 <= seed < _SEEDS:
        raise argparse.ArgumentTypeError(f"{text} must be an integer from 0 to {_SEEDS - 1}")
    return seed
