"""The file of the control socket, and who may connect to it.

Connecting needs the right to write the file (unix(7)), and works only after `listen`; until then
everybody is refused. So group and mode are set between `bind` and `listen`.
"""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from pathlib import Path

from classifier.errors import ServiceError
from classifier.service.control.address import socket_path

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISREG, "a file"),
    (stat.S_ISLNK, "a symbolic link"),
)


def bind_socket(runtime_dir: Path, group: str | None) -> socket.socket:
    """The bound socket of `runtime_dir`, which does not listen yet.

    `group`: name of the group that may connect, besides root and the service's user. The caller
    holds the runtime directory's lock, so a socket found there belongs to nobody. Raises
    ServiceError.
    """
    path = socket_path(runtime_dir)
    _remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The file takes its mode from the socket (net/unix/af_unix.c), less the umask.
        os.fchmod(bound.fileno(), 0o600)
        bound.bind(str(path))
    except OSError as error:
        bound.close()
        raise ServiceError(f"control socket {path}: {error.strerror}") from error
    try:
        give_access(path, group)
    except ServiceError:
        bound.close()
        path.unlink(missing_ok=True)
        raise
    return bound


def give_access(path: Path, group: str | None) -> None:
    """Let root, the service's user and the members of `group` connect, and nobody else."""
    try:
        if group is None:
            path.chmod(0o600)
            return
        os.chown(path, -1, grp.getgrnam(group).gr_gid, follow_symlinks=False)
        path.chmod(0o660)
    except KeyError as error:
        raise ServiceError(
            f'gateway.control_group = "{group}": must be a group of this host'
        ) from error
    except OSError as error:
        way_out = ""
        if error.errno == errno.EPERM:
            way_out = (
                "; the service needs CAP_CHOWN, or to be in that group"
                f" (systemd: SupplementaryGroups={group})"
            )
        raise ServiceError(
            f'gateway.control_group = "{group}": the control socket {path} cannot be given to it:'
            f" {error.strerror}{way_out}"
        ) from error


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
        if stat.S_ISSOCK(mode):
            path.unlink()
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise ServiceError(f"control socket {path}: {error.strerror}") from error
    kind = next((name for test, name in _KINDS if test(mode)), "something else")
    raise ServiceError(f"control socket {path}: {kind} is in its place; move it away")
