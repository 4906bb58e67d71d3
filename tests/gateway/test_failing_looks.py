"""A look at the host that fails ends nothing, changes nothing, and is told once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_service import HostService, eventually
from host_snapshots import make_host, shell, snapshot

from classifier.lab.namespace import Namespace

# A kernel, or a pyroute2, with a surprise.
FAILS = """
import sys
from pathlib import Path
from classifier.commands import main
from classifier.host import kernel_links

really = kernel_links.links

def links():
    if Path("{trouble}").exists():
        raise IndexError("a message that nobody expected")
    return really()

kernel_links.links = links
sys.exit(main(sys.argv[1:]))
"""
# The kernel ends a program where memory is short, or we do when it does not end by itself.
IS_KILLED = """#!/bin/sh
[ -e {trouble} ] && kill -9 $$
exec {program} "$@"
"""


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


@pytest.fixture
def trouble(tmp_path: Path) -> Path:
    """Looks fail while there is such a file."""
    return tmp_path / "trouble"


def fail_for_a_while(host: Namespace, service: HostService, trouble: Path, words: str) -> None:
    before = snapshot(host)
    trouble.touch()
    for number in range(1, 4):
        # Different ones, so that it is a reason to look each time.
        shell(host, f"nft add table inet their{number}; nft delete table inet their{number}")
        shell(host, f"ip rule add pref {number} lookup 9; ip rule del pref {number}")
        service.wait_for("trying again, and saying no more of it")
    assert snapshot(host) == before
    trouble.unlink()
    service.wait_for("host: works again")
    assert service.said.count(words) == 1
    assert snapshot(host) == before


def check_healing(host: Namespace, service: HostService) -> None:
    shell(host, "ip rule flush protocol 78")
    eventually(lambda: healed(service) == 1, "what is flushed is put right")
    assert "proto 78" in shell(host, "ip rule")


def healed(service: HostService) -> int:
    return int(json.loads(service.status("--json").stdout)["healed"])


def test_what_nobody_expected_is_told_once_with_where_it_was(
    host: Namespace, tmp_path: Path, trouble: Path
) -> None:
    service = HostService(host, tmp_path / "service")
    service.program[1:] = ["-c", FAILS.format(trouble=trouble)]
    service.start()
    fail_for_a_while(host, service, trouble, "IndexError: a message that nobody expected")
    assert service.said.count("Traceback") == 1
    check_healing(host, service)
    assert service.stop() == 0, service.said


def test_a_program_that_is_killed_is_not_taken_for_rules_that_are_gone(
    host: Namespace, tmp_path: Path, trouble: Path
) -> None:
    for name in ("iptables-nft", "iptables-nft-save"):
        program = tmp_path / name
        program.write_text(IS_KILLED.format(trouble=trouble, program=f"/usr/sbin/{name}"))
        program.chmod(0o755)
    service = HostService(host, tmp_path / "service")
    service.start(PATH=f"{tmp_path}:{os.environ['PATH']}")
    fail_for_a_while(host, service, trouble, "iptables-nft-save: exit code -9")
    assert healed(service) == 0
    assert "Traceback" not in service.said
    check_healing(host, service)
    assert service.stop() == 0, service.said
