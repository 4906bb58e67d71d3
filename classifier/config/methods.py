"""The method of a balancer with its options: one of those built in, or a class of one's own.

A class is imported as Python imports, made once on trial and asked whether it agrees (`validate`),
so that what is wrong with it is found when the file is read. Its code runs with the rights of
whoever reads the file.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from classifier.config import values
from classifier.config.reading import Parse, Table, WrongValueError, did_you_mean
from classifier.policy import METHOD_OPTIONS, Member, Uplink

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_PARSERS: Mapping[tuple[str, str], Parse[Any]] = {
    ("least-loaded", "tolerance"): values.integer(0, 100),
    ("overflow", "share"): values.integer(1, 100),
    ("fastest", "tolerance"): values.duration,
}
_NEEDS: Mapping[str, str] = {
    "least-loaded": "capacity",
    "overflow": "capacity",
    "fastest": "health",
}
"""What each of a balancer's uplinks must have for some methods."""


@dataclass(frozen=True, slots=True)
class Method:
    name: str = "nth"
    options: Mapping[str, Any] = field(default_factory=dict)
    custom: type | None = None


def read_method(table: Table, members: Iterable[Member], uplinks: Mapping[str, Uplink]) -> Method:
    """The method of a balancer, which has the members given."""
    name = table.one("method", _method_name, "nth")
    options = table.table("options")
    if ":" in name:
        # All that is in there is the method's own.
        taken = {key: options.raw(key) for key in options}
        return Method(name, taken, _custom(table, name, taken, tuple(m.uplink for m in members)))
    read = {
        key: options.one(key, _PARSERS[name, key], default)
        for key, default in METHOD_OPTIONS[name].items()
    }
    options.finish()
    _check_needs(table, name, [uplinks[member.uplink] for member in members])
    return Method(name, read)


def _method_name(value: object) -> str:
    name = values.string(value)
    if name in METHOD_OPTIONS or _NAME.fullmatch(name):
        return name
    if ":" in name:
        raise WrongValueError('must be "package.module:Class" for a method of your own')
    known = ", ".join(METHOD_OPTIONS)
    hint = did_you_mean(name, METHOD_OPTIONS)
    raise WrongValueError(f'must be one of {known}, or "package.module:Class"{hint}')


def _check_needs(table: Table, method: str, uplinks: Iterable[Uplink]) -> None:
    key = _NEEDS.get(method)
    without = [uplink.name for uplink in uplinks if key and getattr(uplink, key) is None]
    if without:
        table.wrong(
            "method", f"needs the {key} of each of its uplinks; without are: {', '.join(without)}"
        )


def _custom(
    table: Table, name: str, options: Mapping[str, Any], uplinks: tuple[str, ...]
) -> type | None:
    """The class; None, with the mistake noted, where it cannot be used."""
    try:
        found = _imported(name)
    except WrongValueError as error:
        table.wrong("method", str(error))
        return None
    made = _tried(table, "options", "its constructor refuses these", lambda: found(**options))
    if made is not None and hasattr(made, "validate"):
        _tried(table, "options", "it refuses these", lambda: made.validate(uplinks))
    return found


def _imported(name: str) -> type:
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise WrongValueError(
            f"{module_name} cannot be imported as a Python module: {_text(error)}"
        ) from None
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        there = [n for n, value in vars(module).items() if isinstance(value, type)]
        raise WrongValueError(
            f"{module_name} has no class {class_name}{did_you_mean(class_name, there)}"
        )
    select = getattr(found, "select", None)
    if not callable(select):
        raise WrongValueError("the class has no method select(self, flow, uplinks, now)")
    if not _takes(select, 4):
        raise WrongValueError(
            f"select must take (self, flow, uplinks, now), not {inspect.signature(select)}"
        )
    return found


def _takes(function: Callable[..., object], count: int) -> bool:
    """Whether so many positional arguments can be given; True where Python cannot tell."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except ValueError:
        return True
    except TypeError:
        return False
    return True


def _tried(table: Table, key: str, what: str, trial: Callable[[], Any]) -> Any:
    """What `trial` returns; None, with the mistake noted, where it raises."""
    try:
        return trial()
    except (Exception, SystemExit) as error:
        at = key if key in table else "method"
        table.wrong(
            at, f"{what}: {_text(error)}" if at == key else f"{what} options: {_text(error)}"
        )
        return None


def _text(error: BaseException) -> str:
    """What was raised, in one line; of a ValueError, which is for the user, only what it says."""
    kind = "" if type(error) is ValueError and str(error) else type(error).__name__
    return " ".join(": ".join(part for part in (kind, str(error)) if part).split())
