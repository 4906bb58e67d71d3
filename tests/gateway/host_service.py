"""The real service on a bare host: started oddly, on odd hosts, with what it said."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from classifier.lab.limits import scaled
from classifier.lab.namespace import Namespace
from classifier.lab.running_links import wait_until_running

SECONDS = 30.0
CONFIG = """
[gateway]
lan = ["eth2"]
[uplinks.wired]
interface = "eth0"
gateway = "10.0.0.2"
[uplinks.wifi]
interface = "eth1"
gateway = "10.1.0.2"
[balancers.all]
uplinks = { wired = 1, wifi = 3 }
[[rules]]
name = "the rest"
use = "all"
"""
WITH_IPV6 = CONFIG.replace('"10.0.0.2"', '"10.0.0.2"\ngateway6 = "2001:db8::2"')


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + scaled(SECONDS)
    while not holds():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        time.sleep(0.01)


def without(pattern: str, directory: Path) -> list[str]:
    """Words before a command that hide programs of /usr/sbin from it (a shell pattern)."""
    aside = directory / "sbin"
    aside.mkdir()
    script = f"""
        mount --bind /usr/sbin {aside}
        mount -t tmpfs none /usr/sbin
        for program in {aside}/*; do
            case ${{program##*/}} in {pattern}) ;; *) ln -s $program /usr/sbin/ ;; esac
        done
        exec "$@"
    """
    return ["unshare", "-m", "--propagation", "private", "bash", "-eu", "-c", script, "bash"]


class HostService:
    """`nfq-classifier run` in a namespace, with a folder of its own for its files."""

    def __init__(self, host: Namespace, directory: Path, config: str = CONFIG) -> None:
        directory.mkdir(exist_ok=True)
        self._host = host
        self.runtime_dir = directory / "run"
        self.state_dir = directory / "state"
        self.config = directory / "gateway.toml"
        self.config.write_text(config)
        self._log = directory / "log"
        self.program = [sys.executable, "-m", "classifier"]

    @property
    def said(self) -> str:
        """By the one that was started last."""
        return self._log.read_text()

    @property
    def directories(self) -> list[str]:
        return ["--runtime-dir", str(self.runtime_dir), "--state-dir", str(self.state_dir)]

    def command(
        self, name: str, *options: str, before: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Another command of the program, to its end."""
        words = [*before, sys.executable, "-m", "classifier", name, *options]
        return self._host.run(words, check=False)

    def status(self, *options: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        where = ["--runtime-dir", str(self.runtime_dir)]
        return self.command("status", *where, *options, before=before)

    def launch(self, *before: str, **env: str) -> None:
        """Start it and do not wait. `before` are words before the command."""
        wait_until_running(self._host)
        command = [*before, *self.program, "run", str(self.config), *self.directories]
        with self._log.open("w") as log:
            self.process = self._host.popen(
                command, stdout=log, stderr=log, env={**os.environ, **env}
            )

    def start(self, *before: str, **env: str) -> None:
        """Start it and wait until it is ready."""
        self.launch(*before, **env)
        self.wait_for("ready:")

    def refused(self, *before: str) -> str:
        """Start it where it must fail with exit code 1; what it said."""
        self.launch(*before)
        assert self.end() == 1, self.said
        assert "Traceback" not in self.said
        return self.said

    def wait_for(self, words: str) -> None:
        def said() -> bool:
            assert self.process.poll() is None, self.said
            return words in self.said

        eventually(said, f"the service says {words!r}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def end(self) -> int:
        return self.process.wait(scaled(SECONDS))


@contextmanager
def running(host: Namespace, directory: Path, config: str = CONFIG) -> Iterator[HostService]:
    """A service that is ready, and that stops well in the end."""
    service = HostService(host, directory, config)
    service.start()
    yield service
    assert service.stop() == 0, service.said


def as_nobody(*words: str) -> list[str]:
    """The command as another user, who may read what there is: the checkout may lie in /root."""
    user = "setpriv --reuid nobody --regid nogroup --clear-groups"
    reading = "--inh-caps +dac_read_search --ambient-caps +dac_read_search --"
    return [*shlex.split(f"{user} {reading}"), *words]
