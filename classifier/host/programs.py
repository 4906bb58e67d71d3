"""Outside programs: found in trusted places, run on their own, with a time limit.

Each runs in a process group of its own, so that a Ctrl-C at the terminal or a `timeout` reaches
this program alone and no change of the host is stopped half-way.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from classifier.errors import HostError

TIMEOUT = 60.0
"""Seconds after which a program counts as hung. The legacy iptables may wait for a lock."""
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


class RefusedError(HostError):
    """A program came to its end and says that it could not do what it was asked for."""


def find(name: str) -> str | None:
    """The absolute path of a program; None when it is not installed.

    Looked for in PATH, then in the system's directories: /usr/sbin is not in PATH of an ordinary
    user. Relative entries of PATH are passed over: the current directory is not trusted.
    """
    entries = [entry for entry in os.get_exec_path() if Path(entry).is_absolute()]
    return shutil.which(name, path=os.pathsep.join((*entries, *SYSTEM_FOLDERS)))


def run(
    argv: Sequence[str], text: str | None = None, environment: dict[str, str] | None = None
) -> str:
    """Run a program to its end and return what it printed; `text` is its standard input.

    argv: the first is an absolute path, see `find`. Bytes that are not UTF-8 come and go as lone
    surrogates (PEP 383). Raises RefusedError with the program's own words when it fails, and
    HostError when it cannot be started or does not come to its end.
    """
    name = Path(argv[0]).name
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            process_group=0,
        )
    except OSError as error:
        raise HostError(f"{argv[0]}: {error.strerror}") from error
    with process:
        try:
            given = None if text is None else text.encode(errors="surrogateescape")
            out, err = process.communicate(given, timeout=TIMEOUT)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            raise HostError(f"{name}: no end within {TIMEOUT:.0f} s; killed") from error
        except KeyboardInterrupt:
            # What it has begun it ends; then this program may be interrupted.
            process.communicate()
            raise
    if process.returncode != 0:
        said = err.decode(errors="backslashreplace").splitlines()
        words = "; ".join(line.strip() for line in said if line.strip())
        kind = RefusedError if process.returncode > 0 else HostError
        raise kind(f"{name}: {words or f'exit code {process.returncode}'}")
    return out.decode(errors="surrogateescape")
