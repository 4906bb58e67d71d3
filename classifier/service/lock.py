"""One service per runtime directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from classifier.errors import ServiceError


class RuntimeLock:
    """Holds `runtime_dir` for this process; released by the kernel however the process ends."""

    def __init__(self, runtime_dir: Path) -> None:
        try:
            runtime_dir.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(runtime_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ServiceError(f"runtime directory {runtime_dir}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise ServiceError(
                f"{runtime_dir}: a service is running there already (process {holder}); "
                "stop it, or give this one another --runtime-dir"
            ) from error
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        os.close(self._fd)
