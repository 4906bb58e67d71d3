"""`nfq-classifier lab` at its limits: what it says is about the policy, never about the lab."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from classifier.lab.limits import scaled

pytestmark = pytest.mark.gateway

POLICY = """
queue.length = 16
gateway.lan = ["eth2"]
uplinks.wired = { interface = "eth0", gateway = "192.168.1.254", weight = 2 }
uplinks.wifi = { interface = "eth1", gateway = "172.16.0.1" }
balancers.all = { uplinks = ["wired", "wifi"] }
rules = [{ name = "everything", use = "all" }]
"""


def lab(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "classifier", "lab", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=scaled(200), check=False)
    report: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"promises": []}
    broken = [f"{p['promise']}: {p['found']}" for p in report["promises"] if p["held"] is False]
    assert (done.returncode, broken) == (0, []), done.stderr
    return report


def test_the_largest_demonstration_keeps_its_promises() -> None:
    report = lab("--flows", "30000")
    assert sum(kind["flows"] for kind in report["sent"]) > 25_000
    assert all(kind["lost"] == 0 for kind in report["sent"])


def test_a_short_queue_is_not_overfilled(tmp_path: Path) -> None:
    file = tmp_path / "short.toml"
    file.write_text(POLICY)
    (kind,) = lab(str(file), "--flows", "600")["sent"]
    assert kind["got"] == {"wired": 400, "wifi": 200}


def test_flows_that_are_all_dropped_prove_nothing_about_bursts(tmp_path: Path) -> None:
    """The interface has a name that `ip` could take for one of its own words."""
    file = tmp_path / "drop.toml"
    file.write_text(POLICY.replace("eth2", "l").replace('"all" }', '"drop" }'))
    report = lab(str(file), "--flows", "20")
    (kind,) = report["sent"]
    assert kind["got"] == {"drop": 20}
    held = {promise["promise"].split(",")[0]: promise["held"] for promise in report["promises"]}
    assert held["every flow goes where the engine says offline"] is True
    assert held["a flow leaves by one uplink"] is None
