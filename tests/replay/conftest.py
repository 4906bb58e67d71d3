"""Captures that tests make, and the policies they are run through."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from capture_files import RAW, Captured, pcap

from classifier.config import parse_policy
from classifier.policy import Policy

ALTERNATING = """
[gateway]
lan = ["lan0"]
[uplinks.a]
interface = "eth0"
gateway = "192.0.2.1"
gateway6 = "2001:db8::1"
[uplinks.b]
interface = "eth1"
gateway = "198.51.100.1"
gateway6 = "2001:db8:1::1"
[balancers.all]
method = "nth"
uplinks = ["a", "b"]
[[rules]]
name = "home"
to = ["10.0.0.0/8"]
use = "direct"
[[rules]]
name = "no mail"
protocol = "tcp"
to_ports = [25]
use = "drop"
[[rules]]
name = "rest"
use = "all"
"""


@pytest.fixture(scope="session")
def policy() -> Policy:
    """Two uplinks taken in turn; 10/8 is direct, port 25 is dropped."""
    return parse_policy(ALTERNATING)


@pytest.fixture
def policy_file(tmp_path: Path) -> str:
    path = tmp_path / "gateway.toml"
    path.write_text(ALTERNATING)
    return str(path)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], str]:
    """Writes a capture file and names it."""
    numbers = itertools.count(1)

    def written(data: bytes) -> str:
        path = tmp_path / f"capture{next(numbers)}"
        path.write_bytes(data)
        return str(path)

    return written


@pytest.fixture
def raw(write: Callable[[bytes], str]) -> Callable[[Iterable[Captured]], str]:
    """Writes IP packets as a pcap of raw IP."""
    return lambda frames: write(pcap(frames, link=RAW))
