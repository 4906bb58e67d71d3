"""A snapshot as JSON text, and back."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from classifier.errors import HostError
from classifier.host.snapshot import Snapshot


def dump(snapshot: Snapshot) -> str:
    return json.dumps(dataclasses.asdict(snapshot), indent=1, default=_set) + "\n"


def _set(values: frozenset[Any]) -> list[Any]:
    return [dataclasses.asdict(value) for value in sorted(values, key=str)]


def load(text: str, path: str) -> Snapshot:
    """The snapshot that `dump` wrote. `path` is only what errors call it. Raises HostError."""
    try:
        made = _value(Snapshot, json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise HostError(f"{path}: not a snapshot of a host: {error}") from error
    assert isinstance(made, Snapshot)
    return made


def _value(kind: Any, data: Any) -> Any:
    """`data` as a value of type `kind`, which is made of frozen dataclasses and plain types."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(data, dict):
            raise TypeError(f"{kind.__name__}: must be an object")
        hints = get_type_hints(kind)
        return kind(**{name: _value(hints[name], value) for name, value in data.items()})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if data is None:
            return None
        [kind] = (argument for argument in arguments if argument is not type(None))
        return _value(kind, data)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return tuple(_value(arguments[0], item) for item in data)
        return tuple(_value(k, item) for k, item in zip(arguments, data, strict=True))
    if origin is frozenset:
        return frozenset(_value(arguments[0], item) for item in data)
    if origin is Literal:
        if data not in arguments:
            raise ValueError(f"{data!r} must be one of {arguments}")
        return data
    if origin is Mapping:
        return dict(data)
    if isinstance(kind, type) and not isinstance(data, kind):
        raise TypeError(f"{data!r} must be of type {kind.__name__}")
    return data
