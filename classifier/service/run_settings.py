"""How one run of the service was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunSettings:
    file: Path
    """The configuration, for a reload."""
    runtime_dir: Path
    state_dir: Path
    seed: int | None = None
    """None: the one of the state directory."""
    keep: bool = False
    """Leave the host state in place at the end, so that the next start takes over unnoticed."""
