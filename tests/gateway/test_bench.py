"""The bench itself: every contender answers every packet, or it says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.shaped import measured


def test_drain_measures_all_contenders() -> None:
    """It counts on both ends and fails when a packet is missing, so that it ends is the proof."""
    # 400 packets fit into the socket buffer that root of a user namespace gets, too.
    ran = subprocess.run(
        [sys.executable, "-m", "bench", "drain", "--rounds", "1", "--packets", "400", "--json"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert ran.returncode == 0, ran.stderr
    (result,) = json.loads(ran.stdout)
    assert [row["name"] for row in result["rows"]] == ["ours", "batch", "single", "callback"]
    assert all(row["cpu"] > 0 and row["ratio_cpu"] > 0 for row in result["rows"])


def test_least_loaded_fills_lines_of_different_speed() -> None:
    """By weights alone, which are the same here, it is 60 percent; see the bench `shaped`."""
    row = measured("least-loaded", clients=60, seconds=4, seed=7, warming=4)
    assert row.percent > 85, row
