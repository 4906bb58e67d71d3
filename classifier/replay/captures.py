"""Which captures are read, in which order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from classifier.errors import CaptureError
from classifier.replay.reader import CaptureReader

AnyPath = str | os.PathLike[str]

STANDARD_INPUT = "-"


def in_order_of_time(paths: Iterable[AnyPath]) -> list[str]:
    """Captures by the time of their first packets, each folder replaced by the files in it.

    A folder stands for its files, but for hidden ones and folders in it. Where standard input or a
    pipe is among them, nothing can be looked at before it is read, and the order stays as given.
    What cannot be read comes last, so that reading all of them in order tells why.
    Raises CaptureError for a folder without files, or one that cannot be read.
    """
    found = files(paths)
    if len(found) < 2 or not all(map(_is_seekable, found)):
        return found
    return sorted(found, key=_first_time)


def files(paths: Iterable[AnyPath]) -> list[str]:
    """Captures in the order given, each folder replaced by the files in it. CaptureError."""
    return [file for path in paths for file in _files(os.fspath(path))]


def _files(path: str) -> list[str]:
    folder = Path(path)
    try:
        if path == STANDARD_INPUT or not folder.is_dir():
            return [path]
        found = sorted(
            str(file)
            for file in folder.iterdir()
            if not file.name.startswith(".") and not file.is_dir()
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CaptureError(f"{path}: {reason}") from None
    if not found:
        raise CaptureError(f"{path}: no captures in this folder")
    return found


def _is_seekable(path: str) -> bool:
    # What is not there is no reason to leave the others as they are.
    return path != STANDARD_INPUT and (Path(path).is_file() or not Path(path).exists())


def _first_time(path: str) -> tuple[bool, int]:
    """One without packets comes first: it is as empty at any place."""
    try:
        with CaptureReader(path) as reader:
            return False, reader.first_time() or 0
    except CaptureError:
        return True, 0
