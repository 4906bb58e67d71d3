"""Sticky entries over a restart, as the engine writes them; for the service's user alone."""

from __future__ import annotations

import time
from pathlib import Path

from classifier.errors import HostError
from classifier.state import files

FILE_NAME = "sticky"


def stored_sticky(state_dir: Path) -> tuple[bytes, float] | None:
    """What was stored, and how many seconds ago; None where there is none.

    Raises HostError when it cannot be read.
    """
    path = state_dir / FILE_NAME
    try:
        return path.read_bytes(), max(0.0, time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"{path}: cannot be read: {error.strerror}") from error


def store_sticky(state_dir: Path, content: bytes) -> None:
    """Raises HostError."""
    files.write(state_dir / FILE_NAME, content, 0o600)


def set_sticky_aside(state_dir: Path, rule: str) -> None:
    """Keep a file that the engine refuses under another name; tells so."""
    files.set_aside(state_dir / FILE_NAME, rule)
