"""Nothing that is read is written over, no two outputs go to one file, and each has a place to go.

Told at once, not after a replay of hours.
"""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path

from classifier.errors import OutputError, UsageError
from classifier.replay.captures import STANDARD_INPUT, files

_OUTPUTS = ("report", "flows_to", "annotate")


def check(options: argparse.Namespace) -> None:
    """Raises UsageError with the option, OutputError, or CaptureError: a folder has no captures."""
    outputs = {
        f"--{name.replace('_', '-')}": path
        for name in _OUTPUTS
        if (path := getattr(options, name, None)) is not None
    }
    if not outputs:
        return
    inputs = {options.file: "the configuration"}
    if "captures" in options:
        inputs[options.against] = "the configuration of --against"
        inputs |= dict.fromkeys(files(options.captures), "one of the captures")
    before: dict[Path, str] = {}
    for option, path in outputs.items():
        if path.is_dir() or not path.parent.is_dir():
            why = os.strerror(errno.EISDIR if path.is_dir() else errno.ENOENT)
            raise OutputError(f"{path}: cannot be written: {why}")
        if path.exists() and not path.is_file():
            continue  # into a pipe or a device, where nothing is lost
        for name, what in inputs.items():
            if name not in (None, STANDARD_INPUT) and _same(path, Path(name)):
                raise UsageError(f"{option} {path}: is {what}: must be another file")
        other = before.setdefault(path.resolve(), option)
        if other != option:
            raise UsageError(f"{option} {path}: is the file of {other}, too: must be another file")


def _same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)
