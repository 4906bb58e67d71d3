"""How far the reading is, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

Progress = Callable[[str], Callable[[int], None] | None]
"""For a capture that is begun: what to call with the bytes of it read so far, or None."""


@contextmanager
def shown(paths: Sequence[str]) -> Iterator[Progress]:
    """One bar for all captures on stderr where that is a terminal, nothing elsewhere.

    It is drawn ten times a second at most, however often it is told something.
    """
    if not sys.stderr.isatty():
        yield lambda _path: None
        return
    from rich import progress
    from rich.console import Console

    sizes = [_size(path) for path in paths]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    with progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        task = bars.add_task("", total=total)
        begun: list[str] = []

        def start(path: str) -> Callable[[int], None]:
            before = sum(size or 0 for size in sizes[: len(begun)])
            begun.append(path)
            place = f"{len(begun)}/{len(paths)} " if len(paths) > 1 else ""
            bars.update(task, description=f"{place}{Path(path).name}", completed=before)
            return lambda done: bars.update(task, completed=before + done)

        yield start


def _size(path: str) -> int | None:
    file = Path(path)
    return file.stat().st_size if file.is_file() else None
