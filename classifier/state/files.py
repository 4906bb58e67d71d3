"""Files of the state directory: read with suspicion, written in one step."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from pathlib import Path

from classifier.errors import HostError

log = logging.getLogger(__name__)


def read(path: Path) -> str | None:
    """The text of a file; None where there is none. Raises HostError when it cannot be read."""
    try:
        return path.read_bytes().decode(errors="backslashreplace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"{path}: cannot be read: {error.strerror}") from error


def set_aside(path: Path, rule: str, repair: bool = True) -> None:
    """Keep a damaged file under another name, so that a new one can be written; tells so.

    rule: what the content should have been. Without `repair` nothing is changed, and HostError
    raised.
    """
    if not repair:
        raise HostError(f"{path}: damaged: {rule}")
    kept = path.with_name(f"{path.name}.damaged")
    with contextlib.suppress(OSError):
        path.replace(kept)
        log.warning("%s: %s; kept as %s, and a new one is begun", path, rule, kept.name)


def write(path: Path, content: str | bytes, mode: int) -> None:
    """In one step, so that neither a crash nor a full disk leaves half a file.

    Raises HostError.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as file:
            temporary = Path(file.name)
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise HostError(f"{path}: cannot be written: {error.strerror}") from error
