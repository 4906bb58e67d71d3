"""The policies of a sweep: files, and keys in them that take several values in turn."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from classifier.config import load_policy, parse_policy
from classifier.config.reading import dotted, written
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
    """Every file with every combination of the values, the last key changing first.

    Keys are written as in mistakes: `balancers.all.method`, `rules[2].use`. Raises `ConfigError`
    for the first policy that has mistakes, with all of them, `UsageError` for a wrong key.
    """
    values = values or {}
    for key, several in values.items():
        if not several:
            raise UsageError(f"values of {key}: must not be empty")
    combinations = [
        dict(zip(values, combination, strict=True))
        for combination in itertools.product(*values.values())
    ]
    return [_variant(file, combination) for file in files for combination in combinations]


def _variant(file: str, values: Mapping[str, object]) -> Variant:
    load_policy(file)  # its own mistakes, with their lines
    text = Path(file).read_text(encoding="utf-8-sig")
    if not values:
        return Variant(file, {}, text)
    root = tomllib.loads(text)
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
