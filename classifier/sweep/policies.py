"""The policies of a sweep: files, and keys in them that take several values in turn."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from classifier.config import parse_policy, read_text, read_toml
from classifier.config.lines import locate
from classifier.config.reading import Report, Table, dotted, written
from classifier.config.values import string
from classifier.errors import ConfigError, UsageError

_PART = re.compile(r"""([A-Za-z0-9_-]+|"[^"]*")(?:\[([1-9][0-9]*)\])?(?:\.|$)""")


@dataclass(frozen=True, slots=True)
class Variant:
    """One policy of a sweep, checked."""

    file: str
    values: Mapping[str, object]
    """What stands at these keys instead of what the file says."""
    text: str
    """The policy as TOML."""

    @property
    def name(self) -> str:
        """For people: `gateway.toml balancers.all.method="hash"`."""
        return " ".join([self.file, *(f"{key}={written(v)}" for key, v in self.values.items())])


def variants(
    files: Iterable[str], values: Mapping[str, Sequence[object]] | None = None
) -> list[Variant]:
    """Every policy of every file with every combination of the values, the last key changing first.

    A file is a policy, or it names policies and values (see `set_of_policies`). Keys of values are
    written as in mistakes: `balancers.all.method`, `rules[2].use`. Raises `ConfigError` with all
    mistakes of the first policy that has some, `UsageError` for a wrong key.
    """
    found = []
    for file in files:
        text = read_text(file)
        if "policies" in read_toml(text, file):
            several, own = set_of_policies(text, file)
        else:
            several, own = (file,), {}
        for combination in _combinations({**own, **(values or {})}):
            found += [_variant(policy, combination) for policy in several]
    return found


def set_of_policies(text: str, path: str) -> tuple[tuple[str, ...], dict[str, list[object]]]:
    """Of the text of a file: `policies`, files beside it, and `values`, lists by keys."""
    report = Report(locate(text))
    root = Table(read_toml(text, path), (), report)
    policies = root.many("policies", string)
    values = dict(_lists(root.table("values")))
    root.finish()
    if mistakes := report.mistakes():
        raise ConfigError(path, mistakes)
    return tuple(str(Path(path).parent / policy) for policy in policies), values


def _lists(table: Table, before: str = "") -> Iterator[tuple[str, list[object]]]:
    """The lists of `values` by key, which may be in quotes or not: TOML makes tables of dots."""
    for key in table:
        value = table.raw(key)
        if isinstance(value, Mapping):
            yield from _lists(table.table(key), f"{before}{key}.")
        elif isinstance(value, list) and value:
            yield f"{before}{key}", value
        else:
            table.wrong(key, "must be a list of values that are tried in turn")


def _combinations(values: Mapping[str, Sequence[object]]) -> list[dict[str, object]]:
    for key, several in values.items():
        if not several:
            raise UsageError(f"values of {key}: must not be empty")
    return [
        dict(zip(values, combination, strict=True))
        for combination in itertools.product(*values.values())
    ]


def _variant(file: str, values: Mapping[str, object]) -> Variant:
    text = read_text(file)
    parse_policy(text, file)  # its own mistakes, with their lines
    if not values:
        return Variant(file, {}, text)
    root = read_toml(text, file)
    for key, value in values.items():
        _set(root, key, value)
    changed = Variant(
        file, values, "".join(f"{dotted((key,))} = {written(v)}\n" for key, v in root.items())
    )
    try:
        parse_policy(changed.text)
    except ConfigError as error:
        # The lines are none of the file's.
        mistakes = tuple(replace(mistake, line=None) for mistake in error.mistakes)
        raise ConfigError(changed.name, mistakes) from None
    return changed


def _set(root: dict[str, object], key: str, value: object) -> None:
    *parents, last = _path(key)
    place: object = root
    for part in parents:
        if isinstance(place, dict) and isinstance(part, str):
            place = place.setdefault(part, {})
        else:
            place = _element(place, part, key)
    if isinstance(place, dict) and isinstance(last, str):
        place[last] = value
    else:
        _element(place, last, key)
        assert isinstance(place, list) and isinstance(last, int)
        place[last] = value


def _element(place: object, part: str | int, key: str) -> object:
    if isinstance(place, list) and isinstance(part, int) and part < len(place):
        return place[part]
    missing = dotted((part,)) if isinstance(part, str) else f"[{part + 1}]"
    raise UsageError(f"values of {key}: the policy has no place for {missing}")


def _path(key: str) -> list[str | int]:
    path: list[str | int] = []
    at = 0
    while at < len(key) or not path:
        match = _PART.match(key, at)
        if match is None or (match.end() == len(key) and key.endswith(".")):
            raise UsageError(
                f'values of {key!r}: is no key; it is written as in "balancers.all.method" or '
                '"rules[2].use"'
            )
        path.append(match[1].strip('"'))
        if match[2]:
            path.append(int(match[2]) - 1)
        at = match.end()
    return path
