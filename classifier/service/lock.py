"""One service per runtime directory, and one per network namespace.

Both are held by the kernel for the process and released however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from classifier.errors import ConflictError, ServiceError
from classifier.queue.owner import program

ABSTRACT_NAME = "\0nfq-classifier"
"""Abstract names have no file and no owner, and each network namespace has its own (unix(7))."""
_SILENCE_SECONDS = 1.0
"""For a holder to say who it is; a service is silent for microseconds, between bind and listen."""
_WAITING = 128
_PAUSE_SECONDS = 1.0


class RuntimeLock:
    """Holds `runtime_dir` for this process, so that gateways of two namespaces do not share it."""

    def __init__(self, runtime_dir: Path) -> None:
        """Raises ServiceError."""
        try:
            runtime_dir.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(runtime_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ServiceError(f"runtime directory {runtime_dir}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, 0)
            os.write(self._fd, f"{os.getpid()}\n".encode())
        except BlockingIOError as error:
            holder = os.read(self._fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise ServiceError(
                f"{runtime_dir}: a service is running there already (process {holder}); "
                "stop it, or give this one another --runtime-dir"
            ) from error
        except OSError as error:
            os.close(self._fd)
            raise ServiceError(f"runtime directory {runtime_dir}: {error.strerror}") from error

    def release(self) -> None:
        os.close(self._fd)


def served_already(process: str) -> ConflictError:
    return ConflictError(
        f"a gateway is served in this network namespace already, by {process}; stop it first"
    )


class NamespaceLock:
    """Holds the calling thread's network namespace for this process.

    What is held is a listening Unix socket of an abstract name, which any local user could bind
    first. Only a holder that is root or this process's own user is taken for a gateway. Another
    one, or one that does not say who it is, keeps nobody from starting: `warnings` then tells that
    the namespace is not held. What remains is to ask whether somebody answers the queue of our
    rules (`Look.check_alone`), which takes CAP_NET_ADMIN to pretend.
    """

    def __init__(self) -> None:
        """Takes a second at most. ConflictError names the gateway that is here already."""
        self.warnings: tuple[str, ...] = ()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        try:
            self._take()
        except BaseException:
            self._socket.close()
            raise

    def _take(self) -> None:
        deadline = time.monotonic() + _SILENCE_SECONDS
        while not self._bound():
            found = holder()
            if found is not None and found.uid in (0, os.geteuid()):
                raise served_already(found.process)
            if found is not None or time.monotonic() > deadline:
                who = f"{found.process} of user {found.uid}" if found else "a silent process"
                self.warnings = (
                    f"the socket @{ABSTRACT_NAME[1:]} is held by {who}, which is no gateway: that"
                    " there is one gateway in this network namespace is not ensured",
                )
                return
            time.sleep(0.02)

    def _bound(self) -> bool:
        try:
            self._socket.bind(ABSTRACT_NAME)
            self._socket.listen(_WAITING)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise ServiceError(f"socket @{ABSTRACT_NAME[1:]}: {error.strerror}") from error
        return True

    def turn_away_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have `loop` hang up on those who ask, until `release`."""
        if not self.warnings:  # else it is not ours, and nobody can ask
            loop.add_reader(self._socket, self._asked, loop)

    def turn_away(self) -> bool:
        """Hang up on those who have asked; if nobody did, the kernel would run out of room.

        False: some go on waiting, because there are no file descriptors left, mostly.
        """
        for _ in range(_WAITING):
            try:
                asking, _ = self._socket.accept()
            except BlockingIOError:
                return True
            except OSError:
                return False
            asking.close()
        return True

    def _asked(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self.turn_away():  # they would wake us again at once
            loop.remove_reader(self._socket)
            loop.call_later(_PAUSE_SECONDS, self._resume, loop)

    def _resume(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._socket.fileno() >= 0:
            self.turn_away_on(loop)

    def release(self) -> None:
        with contextlib.suppress(RuntimeError):  # no loop runs
            asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Holder:
    pid: int
    """0: it is in a pid namespace that this process does not see."""
    uid: int

    @property
    def process(self) -> str:
        if self.pid == 0:
            return "a process of another pid namespace"
        return f"process {self.pid} ({program(self.pid)})"


def holder() -> Holder | None:
    """Who listens by the name; None: nobody (any more, or yet), or it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(ABSTRACT_NAME)
            # struct ucred: of who called listen, at that time.
            pid, uid, _ = struct.unpack(
                "iII", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            )
        except OSError:
            return None
    return Holder(pid, uid)
