"""A small service manager: what systemd does for Type=notify, WatchdogSec= and Restart=always."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from host_service import eventually

from classifier.lab import python
from classifier.lab.lab import Lab
from classifier.lab.limits import scaled


class Supervisor:
    """Keeps the service of a lab running from `start` to the end of the block."""

    def __init__(self, gateway: Lab, directory: Path, *options: str, watchdog: float = 3.0) -> None:
        """watchdog: seconds without a sign of life after which the service is killed."""
        self._gateway = gateway
        self._options = options
        self._watchdog = scaled(watchdog)
        self._address = str(directory / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address)
        self._socket.settimeout(0.05)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._supervise)
        self.process: subprocess.Popen[str] | None = None
        self.messages: list[str] = []
        """Of all services that ran, each as it came."""
        self.killed_after: list[float] = []
        """Seconds without a sign of life, for each service that was killed."""

    def __enter__(self) -> Supervisor:
        self._thread.start()
        self.wait_for("READY=1")
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def wait_for(self, message: str, count: int = 1) -> None:
        def came() -> bool:
            return sum(message in one.splitlines() for one in list(self.messages)) >= count

        eventually(came, f"{message} comes {count} times")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def _supervise(self) -> None:
        while not self._ended.is_set():
            self._run_once()

    def _run_once(self) -> None:
        process = self.process = self._started()
        alive_at: float | None = None  # not watched before it is ready
        stopping = False
        while process.poll() is None:
            if self._ended.is_set() and not stopping:
                process.send_signal(signal.SIGTERM)
                stopping = True
            message = self._message()
            if message.startswith(("READY=1", "WATCHDOG=1")):
                alive_at = time.monotonic()
            elif (
                alive_at is not None
                and not stopping
                and time.monotonic() - alive_at > self._watchdog
            ):
                self.killed_after.append(time.monotonic() - alive_at)
                process.kill()
                process.wait()
        while self._message():
            pass

    def _message(self) -> str:
        """The next one; empty when none comes at once."""
        try:
            message = self._socket.recv(4096).decode()
        except TimeoutError:
            return ""
        self.messages.append(message)
        return message

    def _started(self) -> subprocess.Popen[str]:
        service = self._gateway.service
        service.runtime_dir.mkdir(exist_ok=True)
        directories = f"--runtime-dir={service.runtime_dir}", f"--state-dir={service.state_dir}"
        words = python.module("classifier", "run", str(service.config), *directories)
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": self._address,
            "WATCHDOG_USEC": str(round(self._watchdog * 1e6)),
        }
        with service.log.open("a") as log:
            return self._gateway.gateway.popen(
                [*words, *self._options], stdout=log, stderr=log, env=environment
            )
