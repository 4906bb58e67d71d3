"""The service under test: the real `nfq-classifier run`, started in the gateway's namespace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from classifier.errors import LabError
from classifier.lab import python
from classifier.lab.limits import scaled
from classifier.lab.namespace import Namespace

START_SECONDS = 30.0
STOP_SECONDS = 20.0


class GatewayService:
    """One `nfq-classifier run` with its directories; start, stop, kill and start again.

    `config` may be rewritten by a test before `reload`. `log` holds what the service wrote.
    """

    def __init__(self, gateway: Namespace, config: Path, directory: Path) -> None:
        self._gateway = gateway
        self.config = config
        self.runtime_dir = directory / "runtime"
        self.state_dir = directory / "state"
        self.log = directory / "service.log"
        self._process: subprocess.Popen[str] | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise LabError("the service has not been started")
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `nfq-classifier ARGUMENTS` in the gateway's namespace to its end."""
        return self._gateway.run(python.module("classifier", *arguments), check=check)

    def start(self, *options: str) -> None:
        """Start it with more options of `run`, and wait until it answers `status`.

        Raises LabError with what it wrote when it ends instead, or does not answer in time.
        """
        if self.running:
            raise LabError("the service is running already")
        self.runtime_dir.mkdir(exist_ok=True)
        self.state_dir.mkdir(exist_ok=True)
        directories = ("--runtime-dir", str(self.runtime_dir), "--state-dir", str(self.state_dir))
        command = python.module("classifier", "run", str(self.config), *directories, *options)
        with self.log.open("a") as log:
            self._process = self._gateway.popen(command, stdout=log, stderr=log)
        self.wait_until_ready()

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + scaled(seconds)
        while not self._answers():
            if not self.running:
                code = self.process.returncode
                raise LabError(f"the service ended with {code}:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise LabError(f"the service is not ready after {seconds} s:\n{self._log_tail()}")
            time.sleep(0.02)

    def status(self) -> dict[str, Any]:
        """What `status --json` prints."""
        said = self._status(check=True).stdout
        status: dict[str, Any] = json.loads(said)
        return status

    def stop(self) -> int:
        """SIGTERM, and wait for its end; returns the exit code."""
        return self.signal(signal.SIGTERM, wait=True)

    def kill(self) -> int:
        """SIGKILL, and wait for its end: nothing is cleaned up."""
        return self.signal(signal.SIGKILL, wait=True)

    def reload(self) -> None:
        self.signal(signal.SIGHUP)

    def signal(self, number: signal.Signals, wait: bool = False) -> int:
        """Send a signal; with `wait` returns the exit code, LabError when it does not end.

        After SIGSTOP this returns when every thread of the service stands still.
        """
        process = self.process
        process.send_signal(number)
        if number == signal.SIGSTOP:
            # Until then a thread that runs on another processor goes on answering packets.
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        if not wait:
            return 0
        try:
            return process.wait(scaled(STOP_SECONDS))
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise LabError(
                f"the service has not ended {STOP_SECONDS} s after {number.name}:\n"
                f"{self._log_tail()}"
            ) from error

    def _answers(self) -> bool:
        # Asking costs the start of an interpreter: not before there is a socket to ask at.
        return any(self.runtime_dir.iterdir()) and self._status(check=False).returncode == 0

    def _status(self, check: bool) -> subprocess.CompletedProcess[str]:
        return self.command("status", "--json", "--runtime-dir", str(self.runtime_dir), check=check)

    def _log_tail(self) -> str:
        return self.log.read_text()[-4000:].strip() or "(it wrote nothing)"
