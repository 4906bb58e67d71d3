"""What the control socket answers, as a table: the service has the handlers, the server asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole and checked."""

    names: Mapping[str, str] = field(default_factory=dict)
    """What stood in the path for the `{name}` parts of the route's path."""
    query: Mapping[str, str] = field(default_factory=dict)
    """The last value of each key behind the `?`."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """The JSON object of the body; empty when there was no body."""


Handler = Callable[[Request], Awaitable[Mapping[str, Any]]]
"""Returns what is answered as a JSON object. A ClassifierError that it raises is told to the
client; any other exception is a defect of ours: logged, answered with 500, and the service goes
on."""


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    """In capitals, such as GET."""
    path: str
    """Such as /status or /uplinks/{name}."""
    handler: Handler
