"""From TOML to a `Policy`; all mistakes are reported together, each with its line.

One file per part of the configuration; `limits` refuses what is too large or too deep to parse,
`reading` walks tables and notes mistakes, `values` knows what single values mean, `lines` finds
them in the text.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from classifier.config.balancers import read_balancers
from classifier.config.gateway import read_gateway, read_queue
from classifier.config.limits import LARGEST_FILE, beyond_limits
from classifier.config.lines import locate
from classifier.config.reading import Report, Table, printable
from classifier.config.rules import read_rules
from classifier.config.uplinks import read_uplinks
from classifier.errors import ConfigError, Mistake
from classifier.policy import Policy

__all__ = ["load_policy", "parse_policy", "read_text", "read_toml"]

_AT_LINE = re.compile(r" \(at line ([0-9]+), column ([0-9]+)\)$")
_AT_END = " (at end of document)"


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """The policy in the file at `path`; raises `ConfigError` with every mistake in it.

    Of the host it reads only the user database, for rules that name a user.
    """
    return parse_policy(read_text(path), os.fspath(path))


def parse_policy(text: str, path: str = "<text>") -> Policy:
    """The policy in a TOML text; `path` is only what errors call it.

    Raises `ConfigError` with every mistake; nothing else for any text.
    """
    values = read_toml(text, path)
    report = Report(locate(text))
    policy = _read(Table(values, (), report))
    if mistakes := report.mistakes():
        raise ConfigError(path, mistakes)
    return policy


def read_text(path: str | os.PathLike[str]) -> str:
    """What a file of TOML says; raises `ConfigError`."""
    name = os.fspath(path)
    try:
        with Path(name).open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(name, (Mistake(None, "", "", f"cannot be read: {reason}"),)) from None
    if len(data) > LARGEST_FILE:
        rule = f"is larger than {LARGEST_FILE >> 20} MiB, the limit for a configuration"
        raise ConfigError(name, (Mistake(None, "", "", rule),))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        mistake = Mistake(line, "", "", f"is not UTF-8 text: byte 0x{data[error.start]:02x}")
        raise ConfigError(name, (mistake,)) from None
    return text


def read_toml(text: str, path: str = "<text>") -> dict[str, object]:
    """The values in a text; raises `ConfigError` when it is no TOML, or too large or too deep."""
    if mistake := beyond_limits(text):
        raise ConfigError(path, (mistake,))
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, (_syntax_mistake(text, str(error)),)) from None
    except ValueError:  # Python refuses integers of thousands of digits
        raise ConfigError(
            path, (Mistake(None, "", "", "an integer has too many digits"),)
        ) from None


def _read(root: Table) -> Policy:
    gateway = read_gateway(root.table("gateway"))
    queue = read_queue(root.table("queue"))
    uplinks = read_uplinks(root, gateway)
    balancers = read_balancers(root, uplinks)
    rules = read_rules(root, uplinks, balancers)
    root.finish()
    return Policy(gateway, queue, uplinks, balancers, rules)


def _syntax_mistake(text: str, message: str) -> Mistake:
    line = None
    if match := _AT_LINE.search(message):
        line = int(match[1])
        message = f"{message[: match.start()]}, column {match[2]}"
    elif message.endswith(_AT_END):
        line = text.rstrip("\n").count("\n") + 1
        message = f"{message.removesuffix(_AT_END)}, at the end of the file"
    return Mistake(line, "", "", f"is not TOML: {printable(message)}")
