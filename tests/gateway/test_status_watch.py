"""`status --watch` goes on while the service is restarted, and says so."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

SECONDS = 30.0


class Lines:
    """The lines that a process prints, with a deadline for each wait."""

    def __init__(self, output: IO[str]) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        self._thread = threading.Thread(target=self._read, args=(output,))
        self._thread.start()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self._lines.put(line)

    def end(self) -> None:
        """To be called when the process has ended."""
        self._thread.join(SECONDS)

    def wait_for(self, words: str) -> str:
        deadline = time.monotonic() + SECONDS
        while words not in (
            line := self._lines.get(timeout=max(deadline - time.monotonic(), 0.01))
        ):
            pass
        return line


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_watching_survives_a_restart_of_the_service(
    lab: StartLab, configuration: Configuration, options: tuple[str, ...]
) -> None:
    gateway = lab(configuration({"wired": 1, "wifi1": 1}))
    where = ["--runtime-dir", str(gateway.service.runtime_dir)]
    watch = gateway.gateway.popen(
        [sys.executable, "-m", "nfq_classifier", "status", "--watch", *options, *where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert watch.stdout is not None and watch.stderr is not None
    lines = Lines(watch.stdout)
    try:
        lines.wait_for("wired")
        gateway.service.stop()
        said = lines.wait_for('"error"' if options else "no answer: ")
        if options:
            assert list(json.loads(said)) == ["error"]
        gateway.start_service()
        lines.wait_for("wired")
        watch.send_signal(signal.SIGINT)
        assert watch.wait(SECONDS) == 130
        assert watch.stderr.read() == ""
    finally:
        watch.kill()
        watch.wait()
        lines.end()
        for pipe in (watch.stdout, watch.stderr):
            pipe.close()


def test_watching_where_no_service_runs_fails_at_once(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration({"wired": 1, "wifi1": 1}), service=False)
    where = ["--runtime-dir", str(gateway.service.runtime_dir)]
    done = gateway.service.command("status", "--watch", *where, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("nfq-classifier: ")
