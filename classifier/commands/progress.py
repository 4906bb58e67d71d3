"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """How far something is. This one shows nothing: standard error is no terminal."""

    def reach(self, done: int, description: str | None = None) -> None:
        """So much is done now; it is drawn ten times a second at most, however often it is told."""

    def tell(self, line: str) -> None:
        """Print a line on standard error, above the bar."""
        print(line, file=sys.stderr)


class _Drawn(Bar):
    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def reach(self, done: int, description: str | None = None) -> None:
        self._bars.update(self._task, completed=done, description=description)

    def tell(self, line: str) -> None:
        self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def shown(
    description: str, total: int | None, *, done: int = 0, bytes: bool = False
) -> Iterator[Bar]:
    """A bar that goes away at the end. `total`: None where it is not known. `bytes`: what is
    counted is bytes."""
    if not sys.stderr.isatty():
        yield Bar()
        return
    from rich import progress
    from rich.console import Console

    with progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn() if bytes else progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        yield _Drawn(bars, bars.add_task(description, total=total, completed=done))
