"""Methods of users, for tests: one that behaves, and some that do not."""

from __future__ import annotations

import threading
from typing import Any


class First:
    """Always the first, or the one named `prefer`. Remembers what it was told."""

    def __init__(self, prefer: str | None = None) -> None:
        self.prefer = prefer
        self.flows: list[Any] = []
        self.times: list[float] = []
        self.prepared: tuple[tuple[str, ...], int] | None = None

    def validate(self, uplinks: tuple[str, ...]) -> None:
        if self.prefer is not None and self.prefer not in uplinks:
            raise ValueError(f"prefer = {self.prefer!r}: must be one of {', '.join(uplinks)}")

    def prepare(self, uplinks: tuple[str, ...], seed: int) -> None:
        self.prepared = (uplinks, seed)

    def select(self, flow: Any, uplinks: tuple[Any, ...], now: float) -> Any:
        self.flows.append(flow)
        self.times.append(now)
        return next((uplink for uplink in uplinks if uplink.name == self.prefer), uplinks[0])


class Counting:
    """The uplink with the fewest flows, as the figures tell."""

    def select(self, flow: Any, uplinks: tuple[Any, ...], now: float) -> Any:
        return min(uplinks, key=lambda uplink: uplink.flows)


class Raising:
    def select(self, flow: Any, uplinks: tuple[Any, ...], now: float) -> Any:
        raise RuntimeError("no idea")


class Elsewhere:
    def select(self, flow: Any, uplinks: tuple[Any, ...], now: float) -> Any:
        return uplinks[0].name


class Blocking:
    """Comes back when it is told to."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def select(self, flow: Any, uplinks: tuple[Any, ...], now: float) -> Any:
        self.entered.set()
        assert self.go_on.wait(30)
        return uplinks[0]


class TooFew:
    def select(self, flow: Any) -> Any:
        return None


class NoSelect:
    pass


class Anything(Counting):
    def __init__(self, **options: Any) -> None:
        pass
