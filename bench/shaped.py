"""Shaped: downloads over uplinks of 20, 10 and 5 Mbit/s; how much of the lines each method uses.

In the lab, with tbf on the ISPs' ends: 60 clients on the LAN download side by side, each from
another remote as soon as it is done. Nobody tells the methods by weights which line is the fastest;
only `least-loaded` knows the capacities. The kernel's own `statistic` stands in the very place of
the queue, with the service's routes and connection marks.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from classifier.errors import LabError
from classifier.lab.lab import LAN, Lab
from classifier.lab.topology import ISP_INTERFACE

HELP = "downloads over uplinks of 20, 10 and 5 Mbit/s, by least-loaded, nth, hash, statistic"

_RATES = {"fast": 20, "middle": 10, "slow": 5}
"""Mbit/s."""
_STATISTIC = "statistic"
_METHODS = ("least-loaded", "nth", "hash", _STATISTIC)
_TARGETS = {"least-loaded": 95.0}
"""Percent of the sum, at least."""
_PORT = 8080
_BYTES = 200_000
"""Of a download: some three seconds, when 60 of them share 35 Mbit/s."""
_WARMING = 6.0
"""Seconds."""
_HERE = Path(__file__).parent
_CONFIG = """
[gateway]
lan = ["lan0"]
{uplinks}
[balancers.all]
method = "{method}"
uplinks = ["fast", "middle", "slow"]
[[rules]]
use = "all"
"""


@dataclass(frozen=True, slots=True)
class Row:
    method: str
    percent: float
    """Of the lines, as the bytes on them say."""
    lines: dict[str, float]
    """The same, of each."""
    target: float | None


@dataclass(frozen=True, slots=True)
class Shaped:
    case: str
    clients: int
    seconds: float
    rows: tuple[Row, ...]

    def text(self) -> str:
        total = sum(_RATES.values())
        lines = [
            f"{self.case}: {self.clients} downloads side by side over {total} Mbit/s, "
            f"for {self.seconds:.0f} s each",
            f"  {'':<14} {'used':>7} {'target':>7}   " + " ".join(f"{n:>7}" for n in _RATES),
        ]
        for row in self.rows:
            target = f"{row.target:6.0f}%" if row.target else " " * 7
            parts = " ".join(f"{row.lines[name]:6.1f}%" for name in _RATES)
            lines.append(f"  {row.method:<14} {row.percent:6.1f}% {target}   {parts}")
        return "\n".join(lines)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clients", type=int, default=60, help="shaped: downloads side by side (%(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=12.0, help="shaped: of measuring, per method (%(default)s)"
    )


def run(options: argparse.Namespace) -> Shaped:
    """Raises LabError where this kernel cannot hold the lab, or shape its lines."""
    rows = tuple(
        measured(method, options.clients, options.seconds, options.seed) for method in _METHODS
    )
    return Shaped("shaped", options.clients, options.seconds, rows)


def measured(
    method: str, clients: int, seconds: float, seed: int, warming: float = _WARMING
) -> Row:
    """Downloads by one method, counted for some seconds after `warming`."""
    with tempfile.TemporaryDirectory(prefix="nfq-classifier-bench-") as folder:
        file = Path(folder) / "gateway.toml"
        file.write_text(_config(method))
        with Lab(file, Path(folder)) as lab:
            _shape(lab)
            if method == _STATISTIC:
                _leave_to_the_kernel(lab)
            else:
                lab.start_service("--seed", str(seed))
            with _downloads(lab, clients, seed):
                time.sleep(warming)
                before, began = _received(lab), time.monotonic()
                time.sleep(seconds)
                after, passed = _received(lab), time.monotonic() - began
    bits = {name: 8 * (after[name] - before[name]) / passed for name in _RATES}
    return Row(
        method,
        100 * sum(bits.values()) / (sum(_RATES.values()) * 1e6),
        {name: 100 * bits[name] / (rate * 1e6) for name, rate in _RATES.items()},
        _TARGETS.get(method),
    )


def _config(method: str) -> str:
    uplinks = "\n".join(
        f'[uplinks.{name}]\ninterface = "eth{number}"\ngateway = "192.0.{2 + number}.1"\n'
        f'capacity = "{rate}mbit"'
        for number, (name, rate) in enumerate(_RATES.items())
    )
    return _CONFIG.format(uplinks=uplinks, method="nth" if method == _STATISTIC else method)


def _shape(lab: Lab) -> None:
    for name, rate in _RATES.items():
        shaping = ["tc", "qdisc", "add", "dev", ISP_INTERFACE, "root", "tbf"]
        lab.isps[name].run([*shaping, "rate", f"{rate}mbit", "burst", "16kb", "latency", "60ms"])


def _leave_to_the_kernel(lab: Lab) -> None:
    """The service's routes and chains, with `statistic` where they lead to the queue."""
    lab.start_service("--keep")
    lab.stop_service()
    mangle = ["iptables", "-w", "-t", "mangle"]
    listed = lab.gateway.run([*mangle, "-S"]).stdout.splitlines()
    queueing = [line.split() for line in listed if "-j NFQUEUE" in line]
    if not queueing:
        raise LabError("the service left no rule that queues")
    marks = [lab.policy.mark(uplink) for uplink in lab.policy.uplinks]
    for words in queueing:
        at = words.index("-j")
        for left, mark in zip(range(len(marks), 0, -1), marks, strict=True):
            every = ["-m", "statistic", "--mode", "nth", "--every", str(left), "--packet", "0"]
            unmarked = [
                "-m",
                "mark",
                "--mark",
                f"{lab.policy.gateway.marks.unclassified:#x}/0x3f00",
            ]
            to = ["-j", "MARK", "--set-xmark", f"{mark:#x}/0x3f00"]
            lab.gateway.run([*mangle, *words[:at], *unmarked, *(every if left > 1 else []), *to])
        lab.gateway.run([*mangle, "-D", *words[1:]])


@contextmanager
def _downloads(lab: Lab, clients: int, seed: int) -> Iterator[None]:
    program = [sys.executable, "-m", "bench.peers.downloads"]
    started: list[subprocess.Popen[str]] = []
    places = [(isp, ["serve", _PORT, _BYTES]) for isp in lab.isps.values()]
    places.append((lab.namespaces[LAN], ["fetch", _PORT, clients, seed]))
    try:
        for place, words in places:
            command = [*program, *map(str, words)]
            started.append(place.popen(command, stdout=subprocess.PIPE, cwd=_HERE.parent))
            assert started[-1].stdout is not None
            if started[-1].stdout.readline().rstrip() != "ready":
                raise LabError(f"{' '.join(command)} did not start")
        yield
    finally:
        for process in started:
            process.terminate()
            process.communicate()


def _received(lab: Lab) -> dict[str, int]:
    """Bytes that came in over each uplink."""
    text = lab.gateway.run(["cat", "/proc/net/dev"]).stdout
    counters = {name.strip(): rest.split() for name, _, rest in
                (line.partition(":") for line in text.splitlines())}  # fmt: skip
    return {uplink.name: int(counters[uplink.interface][0]) for uplink in lab.policy.uplinks}
