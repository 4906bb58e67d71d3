"""Where iptables keeps its lock, for a user who cannot write /run: root of a user namespace."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from classifier.errors import HostError

_LOCK = Path("/run/xtables.lock")
VARIABLE = "XTABLES_LOCKFILE"


def environment() -> dict[str, str]:
    """What has to be added to the environment of iptables. Raises HostError."""
    writable = _LOCK if _LOCK.exists() else _LOCK.parent
    if os.access(writable, os.W_OK) or VARIABLE in os.environ:
        return {}
    return {VARIABLE: str(_own_folder() / "nfq-classifier-xtables.lock")}


def _own_folder() -> Path:
    """One that no other user can write, nor have made before us."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and _is_own(Path(given)):
        return Path(given)
    folder = Path(tempfile.gettempdir()) / f"nfq-classifier-{_user_outside()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise HostError(f"{folder}: cannot be made: {error.strerror}") from error
    if not _is_own(folder):
        raise HostError(
            f"{folder}: must be a folder of this user that nobody else may write, for the lock of"
            f" iptables; remove it, or set {VARIABLE}"
        )
    return folder


def _is_own(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.geteuid()
        and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _user_outside() -> int:
    """Who root of a user namespace is outside of it (user_namespaces(7)): all are 0 inside."""
    user = os.geteuid()
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        inside, outside, count = map(int, line.split())
        if inside <= user < inside + count:
            return outside + user - inside
    return user
