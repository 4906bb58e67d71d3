"""However a test run ends, it leaves no process, no namespace, no rule and no file behind.

Each run here is a pytest of its own, in a network namespace that stands for the host.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from host_snapshots import snapshot

from classifier.lab.limits import scaled

if TYPE_CHECKING:
    from classifier.lab.namespace import Namespace

_TEST = """
import time
from pathlib import Path

def test_with_a_gateway(lab, configuration):
    gateway = lab(configuration({"wired": 1, "wifi1": 1}, gateway='helpers = ["ftp"]'))
    gateway.tap
    gateway.connect(gateway.flows(4, "tcp", 8080))
    gateway.ftp_transfer("198.18.0.1", passive=True)
    Path("ready").touch()
    OUTCOME
"""
_OUTCOMES = {"passes": "pass", "fails": "assert False", "is killed": "time.sleep(60)"}
_SECONDS = 30.0


def own_processes(mark: str) -> list[str]:
    """Processes that have `mark` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def state_of(host: Namespace) -> tuple[dict[str, list[str]], list[Path]]:
    shared = [*Path("/run").iterdir(), *Path("/var/lib").iterdir()]
    return snapshot(host), sorted(path for path in shared if "nfq" in path.name)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """The name of a control socket may have 107 bytes, and `tmp_path` is long already."""
    with tempfile.TemporaryDirectory(prefix="run-") as made:
        yield Path(made)


@pytest.mark.parametrize("end", _OUTCOMES)
def test_a_run_that_ends_leaves_nothing_behind(host: Namespace, short_path: Path, end: str) -> None:
    here = Path(__file__).parent
    inside = short_path / "tests"
    inside.mkdir()
    (inside / "conftest.py").write_text((here / "conftest.py").read_text())
    (inside / "test_one.py").write_text(_TEST.replace("OUTCOME", _OUTCOMES[end]))
    mark = f"CLASSIFIER_TEST_RUN={short_path}"
    project = here.parents[1]
    before = state_of(host)
    options = ["-q", "-c", str(project / "pyproject.toml"), "-p", "no:cacheprovider"]
    folders = ["--rootdir", str(inside), "--basetemp", str(short_path / "files")]
    run = host.popen(
        [sys.executable, "-m", "pytest", *options, *folders, str(inside)],
        cwd=inside,
        env={**os.environ, "CLASSIFIER_TEST_RUN": str(short_path), "PYTHONPATH": str(project)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if end == "is killed":
        wait_for((inside / "ready").exists, run)
        assert len(own_processes(mark)) >= 4, "pytest, the service and two FTP servers"
        run.send_signal(signal.SIGKILL)
    output, _ = run.communicate(timeout=scaled(_SECONDS))
    assert run.returncode == {"passes": 0, "fails": 1, "is killed": -signal.SIGKILL}[end], output
    assert (inside / "ready").exists(), output
    deadline = time.monotonic() + scaled(_SECONDS)
    while (left := own_processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.02)
    # With its processes, which alone hold them, go the namespaces and all that is in them.
    assert left == []
    assert state_of(host) == before


def wait_for(holds: Callable[[], bool], run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + scaled(_SECONDS)
    while not holds():
        assert run.poll() is None, run.stdout.read() if run.stdout else ""
        assert time.monotonic() < deadline, "the test inside does not get ready"
        time.sleep(0.02)
