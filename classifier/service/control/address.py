"""Where the control socket is: a file in the runtime directory, known to service and commands."""

from __future__ import annotations

import os
from pathlib import Path

from classifier.errors import ServiceError

SOCKET_NAME = "control.sock"
LONGEST_PATH = 107
"""Bytes; sun_path of <linux/un.h>, without the final zero."""


def socket_path(runtime_dir: Path) -> Path:
    """The socket's path; ServiceError where it is too long to be one."""
    path = runtime_dir / SOCKET_NAME
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise ServiceError(
            f"{path}: longer than the {LONGEST_PATH} bytes that a Unix socket's path may have;"
            " choose a shorter --runtime-dir"
        )
    return path
