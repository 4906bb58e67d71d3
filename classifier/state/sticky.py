"""Sticky entries and turns over a restart, as the engine writes them; for the service's user alone.

Twice: in the state directory, which outlives a reboot, and more often in the runtime directory,
which lies in memory and outlives a crash of the service.
"""

from __future__ import annotations

import time
from pathlib import Path

from classifier.errors import HostError
from classifier.state import files

FILE_NAME = "sticky"


def stored_sticky(folder: Path) -> tuple[bytes, float] | None:
    """What was stored, and how many seconds ago; None where there is none.

    Raises HostError when it cannot be read.
    """
    path = folder / FILE_NAME
    try:
        return path.read_bytes(), max(0.0, time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"{path}: cannot be read: {error.strerror}") from error


def store_sticky(folder: Path, content: bytes) -> None:
    """Raises HostError."""
    files.write(folder / FILE_NAME, content, 0o600)


def set_sticky_aside(folder: Path, rule: str) -> None:
    """Keep a file that the engine refuses under another name; tells so."""
    files.set_aside(folder / FILE_NAME, rule)


def remove_sticky(folder: Path) -> None:
    """What is stored there has become old. Raises HostError."""
    path = folder / FILE_NAME
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"{path}: cannot be removed: {error.strerror}") from error
