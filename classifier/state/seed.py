"""The secret seed of the engine's hashes: the same after a restart, so that flows stay put.

Stored as a hexadecimal number of 64 bits; only the service's user may read it, because who knows
it can choose addresses that collide in the engine's tables.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from classifier.state import files

FILE_NAME = "seed"
_RULE = "must be 16 hexadecimal digits"
_FORM = re.compile(r"[0-9a-f]{16}\n")


def read_seed(state_dir: Path) -> int | None:
    """The seed of the gateway that keeps its state there; None where there is none yet.

    Changes nothing. Raises HostError when the file cannot be read or is damaged.
    """
    path = state_dir / FILE_NAME
    text = files.read(path)
    if text is not None and not _FORM.fullmatch(text):
        files.set_aside(path, _RULE, repair=False)
    return None if text is None else int(text, 16)


def stored_seed(state_dir: Path) -> int:
    """The seed of this gateway; a new one is stored where there is none, or a damaged one.

    Raises HostError when the file cannot be read or written.
    """
    path = state_dir / FILE_NAME
    text = files.read(path)
    if text is not None and _FORM.fullmatch(text):
        return int(text, 16)
    if text is not None:
        files.set_aside(path, _RULE)
    seed = secrets.randbits(64)
    files.write(path, f"{seed:016x}\n", 0o600)
    return seed
