"""Network namespaces that end with this process, however it ends.

A namespace made here has no name and no file: only a descriptor of this process (and the
processes started in it) hold it. The kernel takes it away, with every interface, rule and
connection in it, when the last of them is gone.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from classifier.errors import LabError
from classifier.lab import programs
from classifier.lab.closing import Closing
from classifier.lab.limits import scaled

CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_OWN_NAMESPACE = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


def _succeeded(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise LabError(f"{what}: {os.strerror(number)}")


class Namespace(Closing):
    """A network namespace, held by a file descriptor; `fileno()` is that descriptor.

    >>> with Namespace.create("lan") as lan:
    ...     lan.run(["ip", "link", "show", "lo"])
    ...     with lan.enter():
    ...         listener = socket.create_server(("127.0.0.1", 80))   # stays in the namespace
    """

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self.name = name
        """Only for messages: the kernel does not know it."""
        self._children: list[subprocess.Popen[str]] = []

    @classmethod
    def create(cls, name: str = "namespace") -> Namespace:
        """A new, empty namespace whose loopback interface is up.

        Raises LabError when the kernel or the rights of this process do not allow it.
        """
        outcome: list[int | LabError] = []

        def make() -> None:
            # A thread has its own network namespace; this one ends in the new one and takes
            # nothing of the process along.
            try:
                _succeeded(_libc.unshare(CLONE_NEWNET), "cannot make a network namespace")
                outcome.append(os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC))
            except LabError as error:
                outcome.append(error)

        thread = threading.Thread(target=make, name=f"make-{name}")
        thread.start()
        thread.join()
        result = outcome[0]
        if isinstance(result, LabError):
            raise result
        namespace = cls(result, name)
        namespace.run(["ip", "link", "set", "lo", "up"])
        return namespace

    def fileno(self) -> int:
        if self._fd < 0:
            raise LabError(f"the namespace {self.name} is closed")
        return self._fd

    @contextmanager
    def enter(self) -> Iterator[Namespace]:
        """Put the calling thread into the namespace and take it back afterwards.

        Sockets and processes made inside stay in the namespace. Other threads do not move.
        """
        before = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _succeeded(_libc.setns(self.fileno(), CLONE_NEWNET), f"cannot enter {self.name}")
            try:
                yield self
            finally:
                _succeeded(_libc.setns(before, CLONE_NEWNET), f"cannot leave {self.name}")
        finally:
            os.close(before)

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        check: bool = True,
        input: str | None = None,
        timeout: float = 60.0,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespace to its end; its output and error output are text.

        Raises LabError with the command's own error output when it fails (unless `check` is
        false), when it does not exist, and after `timeout` seconds. `options` go to `Popen`.
        """
        pipes = {
            "stdin": subprocess.DEVNULL if input is None else subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        with self._start(argv, {**pipes, **options}) as process:
            try:
                output, errors = process.communicate(input, scaled(timeout))
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise LabError(
                    f"{self.name}: {_line(argv)} has not ended after {timeout} s"
                ) from error
            except BaseException:
                process.kill()
                raise
        if check and process.returncode != 0:
            said = (errors or output or "").strip()
            raise LabError(f"{self.name}: {_line(argv)} failed with {process.returncode}: {said}")
        return subprocess.CompletedProcess(list(argv), process.returncode, output, errors)

    def popen(
        self, argv: Sequence[str | os.PathLike[str]], **options: Any
    ) -> subprocess.Popen[str]:
        """Start a command in the namespace; `options` go to `Popen`, text is the default.

        It is killed by `close`, and by the kernel when the thread that called this ends, so
        call it from a thread that lives as long as the command shall (the main thread, mostly).
        """
        process = self._start(argv, {"stdin": subprocess.DEVNULL, **options})
        self._children.append(process)
        return process

    def _start(
        self, argv: Sequence[str | os.PathLike[str]], options: dict[str, Any]
    ) -> subprocess.Popen[str]:
        # The kernel kills the command when the thread that starts it here dies.
        command = ["setpriv", "--pdeathsig", "KILL", "--", *(os.fspath(word) for word in argv)]
        environment = dict(options.get("env") or os.environ)
        environment["PATH"] = programs.search_path(environment.get("PATH"))
        try:
            with self.enter():
                return subprocess.Popen(command, **{"text": True, **options, "env": environment})
        except OSError as error:
            raise LabError(f"{self.name}: cannot run {_line(argv)}: {error}") from error

    def sysctl(self, name: str, value: int | str | None = None) -> str:
        """Read a sysctl such as `net.ipv4.ip_forward`, after writing `value` if one is given.

        Dots in an interface name are written as slashes, as `sysctl` wants them.
        """
        path = Path("/proc/sys") / name.translate(str.maketrans("./", "/."))
        try:
            with self.enter():
                if value is not None:
                    path.write_text(f"{value}\n")
                return path.read_text().strip()
        except OSError as error:
            raise LabError(f"{self.name}: sysctl {name}: {error}") from error

    def close(self) -> None:
        """Kill what `popen` started and let go of the namespace; harmless when done twice."""
        for process in self._children:
            if process.poll() is None:
                process.kill()
            # Also closes its pipes.
            with process:
                pass
        self._children.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __repr__(self) -> str:
        return f"Namespace({self.name!r}, fd={self._fd})"


def _line(argv: Sequence[str | os.PathLike[str]]) -> str:
    return " ".join(os.fspath(word) for word in argv)
