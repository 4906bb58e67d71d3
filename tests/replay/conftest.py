"""Captures that tests make, and the policies they are run through."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from capture_files import RAW, Captured, pcap
from replayed_policies import ALTERNATING

from classifier.config import parse_policy
from classifier.policy import Policy


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
