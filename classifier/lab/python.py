"""Commands that run this very package in a process of its own, wherever that is started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package, as `python -m NAME ARGUMENTS` does.

    It is this package, not another one of that name in the current directory (a checkout, when
    what runs is installed): that directory is left out by -P, and where the package lies comes
    first. Given by `env`, since the command may be handed on to other programs that start it.
    """
    folders = [str(_PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    path = f"PYTHONPATH={os.pathsep.join(folders)}"
    return ["env", path, sys.executable, "-P", "-m", name, *arguments]
