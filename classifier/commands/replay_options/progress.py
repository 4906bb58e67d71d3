"""How far the reading is, on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from classifier.commands import progress

Progress = Callable[[str], Callable[[int], None]]
"""For a capture that is begun: what to call with the bytes of it read so far."""


@contextmanager
def shown(paths: Sequence[str]) -> Iterator[Progress]:
    """One bar for all captures."""
    sizes = [_size(path) for path in paths]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    with progress.shown("", total, bytes=True) as bar:
        begun: list[str] = []

        def start(path: str) -> Callable[[int], None]:
            before = sum(size or 0 for size in sizes[: len(begun)])
            begun.append(path)
            place = f"{len(begun)}/{len(paths)} " if len(paths) > 1 else ""
            bar.reach(before, f"{place}{Path(path).name}")
            return lambda done: bar.reach(before + done)

        yield start


def _size(path: str) -> int | None:
    file = Path(path)
    return file.stat().st_size if file.is_file() else None
