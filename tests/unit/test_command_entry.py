"""The first moments of a command, and hosts that are short of something: no traceback, ever."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
[gateway]
lan = ["lan0"]
[uplinks.wired]
interface = "eth0"
[[rules]]
name = "Büro 東京"
use = "wired"
"""
# Sends a real SIGINT to itself when a module is about to be imported, then runs the entry point
# as its script does.
INTERRUPTED_AT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
signal.signal(signal.SIGINT, {disposition})
sys.argv = ["nfq-classifier", "check", {config!r}]
import nfq_classifier
sys.exit(nfq_classifier.main())
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "gateway.toml"
    file.write_text(CONFIG)
    return str(file)


def interrupted(
    module: str, config: str, disposition: str = "signal.default_int_handler"
) -> subprocess.CompletedProcess[str]:
    program = INTERRUPTED_AT.format(module=module, config=config, disposition=disposition)
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "module",
    ["classifier", "classifier.engine.engine", "argparse", "classifier.commands.check"],
)
def test_an_interrupt_while_modules_are_imported_ends_quietly(module: str, config: str) -> None:
    done = interrupted(module, config)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_shell_that_ignores_interrupts_for_its_background_jobs_is_heeded(config: str) -> None:
    done = interrupted("classifier", config, "signal.SIG_IGN")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_installed_script_and_the_module_start_at_the_guarded_entry(config: str) -> None:
    script = Path(sys.executable).with_name("nfq-classifier")
    assert "from nfq_classifier import main" in script.read_text()
    done = subprocess.run([script, "check", config], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "CONFIG"),
        ("explain", "CONFIG", "icmp 192.0.2.1 > 192.0.2.2 in lan0"),
        ("replay", "CONFIG", "/dev/null"),
        ("replay", "CONFIG", "/nonexistent-東京.pcap"),
        ("check", "/nonexistent-東京.toml"),
    ],
    ids=" ".join,
)
def test_a_locale_without_our_letters_gets_them_escaped(
    arguments: tuple[str, ...], config: str
) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "nfq_classifier",
            *(config if a == "CONFIG" else a for a in arguments),
        ],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode in (0, 1, 2)
    assert (done.stdout + done.stderr).isascii()
    if done.returncode == 0:
        assert done.stderr == b""
    if arguments[0] == "check" and done.returncode == 0:
        assert rb"B\xfcro \u6771\u4eac" in done.stdout


@pytest.mark.parametrize("command", ["check", "status", "replay", "plan"])
@pytest.mark.parametrize("limit", [5, 6, 7, 8, 9, 10])
def test_few_file_descriptors_are_said_in_one_line(
    command: str, limit: int, config: str, tmp_path: Path
) -> None:
    arguments = {
        "check": [config],
        "replay": [config, "/dev/null"],
        "status": ["--runtime-dir", str(tmp_path)],
        "plan": [config, "--state-dir", str(tmp_path)],
    }[command]
    done = subprocess.run(
        [sys.executable, "-m", "nfq_classifier", command, *arguments],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 2)
    assert done.returncode == 0 or done.stderr.startswith("nfq-classifier: ")
