"""How far the reading is, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Progress = Callable[[str], Callable[[int], None] | None]
"""For a capture that is begun: what to call with the bytes of it read so far, or None."""


@contextmanager
def shown() -> Iterator[Progress]:
    """A bar on stderr where that is a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _path: None
        return
    from rich import progress
    from rich.console import Console

    with progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:

        def start(path: str) -> Callable[[int], None]:
            task = bars.add_task(Path(path).name, total=_size(path))
            return lambda done: bars.update(task, completed=done)

        yield start


def _size(path: str) -> int | None:
    file = Path(path)
    return file.stat().st_size if file.is_file() else None
