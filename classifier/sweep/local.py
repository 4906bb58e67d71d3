"""Tasks side by side on the cores of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from classifier.sweep.tasks import Outcome, Task, outcome


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def run_here(tasks: Sequence[Task], jobs: int) -> Generator[tuple[Task, Outcome], None, None]:
    """Do the tasks in so many processes at once; each comes out when it is done."""
    workers = _Workers()
    threads = ThreadPoolExecutor(jobs)
    try:
        waiting = {threads.submit(workers.do, task): task for task in tasks}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    finally:  # also when the caller wants no more
        threads.shutdown(wait=False, cancel_futures=True)
        workers.stop()
        threads.shutdown()


class _Workers:
    """A process for each thread that has something to do."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._lock = threading.Lock()
        self._all: list[subprocess.Popen[str]] = []
        self._stopped = False

    def do(self, task: Task) -> Outcome:
        process = getattr(self._own, "process", None)
        if process is None:
            process = self._own.process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            print(json.dumps(task.data()), file=process.stdin, flush=True)
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer.endswith("\n"):
            self._own.process = None
            return Outcome({}, f"its process {_end(process.wait())}")
        return outcome(json.loads(answer))

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._all:
                process.kill()
        for process in self._all:
            process.wait()
            assert process.stdin is not None and process.stdout is not None
            process.stdout.close()
            process.stdin.close()

    def _started(self) -> subprocess.Popen[str]:
        path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
        with self._lock:
            if self._stopped:
                raise InterruptedError
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "classifier.sweep.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
                process_group=0,  # Ctrl-C is ours to handle
            )
            self._all.append(process)
        return process


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"
