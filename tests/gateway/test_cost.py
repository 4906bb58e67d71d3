"""What the service costs when there is nothing to do for it, in processor time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from host_snapshots import shell

from classifier.lab.limits import scaled

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

NAMES = [f"u{number}" for number in range(5)]
HEALTH = """
[uplinks.{}.health]
probe = "icmp"
targets = ["198.18.0.1", "198.18.0.2"]
interval = "1s"
"""
SECONDS = 6.0
"""More than from one look at the host to the next."""
ROUTES = 2500
SLACK = 2
"""Times as much as on a processor that others leave alone: they take its caches, and its clock."""


def processor_seconds(gateway: Lab) -> float:
    """Used by the service so far, in user and kernel mode."""
    line = Path(f"/proc/{gateway.service.process.pid}/stat").read_text()
    fields = line.rpartition(")")[2].split()  # from the third field of proc_pid_stat(5) on
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def changes(directory: Path) -> str:
    """A script of 4 * ROUTES changes: routes of others in main and in another table, there and
    gone again."""
    hosts = [f"172.16.{number >> 8}.{number & 255}" for number in range(ROUTES)]
    routes = [f"{host} via 192.0.2.1 table {t} proto bird\n" for t in (254, 333) for host in hosts]
    for word in ("add", "del"):
        (directory / word).write_text("".join(f"route {word} {route}" for route in routes))
    return f"ip -batch {directory}/add; ip -batch {directory}/del\n"


def test_probes_of_five_uplinks_cost_a_hundredth_of_a_processor_and_routes_of_others_a_tenth(
    lab: StartLab, configuration: Configuration, tmp_path: Path
) -> None:
    gateway = lab(configuration(dict.fromkeys(NAMES, 1), more="".join(map(HEALTH.format, NAMES))))
    time.sleep(1.0)  # what a start leaves to do
    used, begun = processor_seconds(gateway), time.monotonic()
    time.sleep(SECONDS)
    idle = (processor_seconds(gateway) - used) / (time.monotonic() - begun)
    assert idle < scaled(0.01 * SLACK)
    assert all(life["latency"] for life in gateway.status()["uplinks"].values()), "they are asked"

    script = changes(tmp_path)
    used, begun = processor_seconds(gateway), time.monotonic()
    rounds = 3
    for _ in range(rounds):
        shell(gateway.gateway, script)
    beside = processor_seconds(gateway) - used - idle * (time.monotonic() - begun)
    assert beside / (rounds * 4 * ROUTES) < scaled(0.1 / 10_000)
