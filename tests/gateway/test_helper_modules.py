"""A module of a helper that cannot be loaded is told: without it data connections get lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_service import CONFIG, HostService
from host_snapshots import make_host

from classifier.lab.namespace import Namespace

FTP = CONFIG.replace("[gateway]\n", '[gateway]\nhelpers = ["ftp"]\n')
LOST = "kernel module nf_nat_ftp is not loaded and cannot be loaded from here"
# A kernel that has the helper as a file, whatever this one has.
AS_A_FILE = """
import sys
from pathlib import Path
from classifier.commands import main
from classifier.host import modules

modules._LOADED = modules._SYMBOLS = modules._CONFIG = Path("/nowhere")
modules._listed = lambda file: frozenset(["nf_nat_ftp"] if file == "modules.dep" else ["x"])
modules._may_load = lambda: True
sys.exit(main(sys.argv[1:]))
"""
REFUSES = """#!/bin/sh
case "$1" in
    -D) echo "insmod /lib/modules/6.1/$2.ko" ;;
    *) echo "modprobe: ERROR: could not insert '$1': Key was rejected by service" >&2; exit 1 ;;
esac
"""
IS_FORBIDDEN = """#!/bin/sh
[ "$1" = -D ] && echo "install /bin/false "
"""


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


@pytest.fixture
def service(host: Namespace, tmp_path: Path) -> HostService:
    made = HostService(host, tmp_path, FTP)
    made.program[1:] = ["-c", AS_A_FILE]
    return made


def use_modprobe(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = directory / "modprobe"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def test_a_module_that_modprobe_refuses_is_told_by_log_and_status_and_tried_once(
    service: HostService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_modprobe(tmp_path, REFUSES, monkeypatch)
    service.start()
    service.wait_for(LOST)
    assert service.said.count("Key was rejected by service") == 1
    assert LOST in " ".join(service.status().stdout.split())
    assert service.stop() == 0


def test_a_module_that_the_administrator_forbids_is_told_by_plan(
    host: Namespace, service: HostService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_modprobe(tmp_path, IS_FORBIDDEN, monkeypatch)
    done = host.run([*service.program, "plan", str(service.config), *service.directories[2:]])
    assert LOST in done.stdout + done.stderr
    assert "modprobe" not in done.stdout


def test_a_module_that_can_be_loaded_is_planned_and_not_warned_of(
    host: Namespace, service: HostService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_modprobe(tmp_path, REFUSES, monkeypatch)
    done = host.run([*service.program, "plan", str(service.config), *service.directories[2:]])
    assert "modprobe nf_nat_ftp\n" in done.stdout
    assert LOST not in done.stdout + done.stderr
