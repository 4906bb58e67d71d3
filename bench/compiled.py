"""Cython modules that only benches and tests need, compiled when they are."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

from classifier.errors import UsageError

_ROOT = Path(__file__).parents[1]


def compiled(source: Path, folder: Path) -> Path:
    """The program made of a .pyx file, in `folder`. UsageError: what the compiler said."""
    written, program = folder / f"{source.stem}.c", folder / f"{source.stem}.so"
    include = sysconfig.get_path("include")
    for command in (
        [sys.executable, "-m", "cython", "-3", f"-I{_ROOT}", str(source), "-o", str(written)],
        ["gcc", "-O2", "-shared", "-fPIC", f"-I{include}", str(written), "-o", str(program)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise UsageError(f"{command[0]} {source.name}: {done.stderr}")
    return program


def loaded(name: str, program: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, program)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
