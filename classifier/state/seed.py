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
_FORM = re.compile(r"[0-9a-f]{16}\n")


def stored_seed(state_dir: Path) -> int:
    """The seed of this gateway; a new one is stored where there is none, or a damaged one.

    Raises HostError when the file cannot be read or written.
    """
    path = state_dir / FILE_NAME
    text = files.read(path)
    if text is not None and _FORM.fullmatch(text):
        return int(text, 16)
    if text is not None:
        files.set_aside(path, "must be 16 hexadecimal digits")
    seed = secrets.randbits(64)
    files.write(path, f"{seed:016x}\n", 0o600)
    return seed
