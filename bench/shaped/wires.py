"""A scenario in the lab: real packets over shaped lines."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.shaped.paper import predicted
from bench.shaped.scenario import CLIENTS, PORT, RATES, Contender, Scenario
from classifier.errors import LabError
from classifier.lab.lab import LAN, Lab
from classifier.lab.topology import ISP_INTERFACE
from classifier.service.uplinks import link_bytes

_ROOT = Path(__file__).parents[2]
_LEAST_BURST = 16_384
"""Bytes."""
_BURST_SECONDS = 0.025
_MOST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Measured:
    percent: float
    """Of the lines, as the bytes on them say, until the last flow began."""
    ways: tuple[str, ...]
    """Uplink of each flow, as its server says, in order of their beginnings."""


def measured(scenario: Scenario, one: Contender, seed: int) -> Measured:
    """The flows of `predicted`, to the same remotes in the same order, by clients in the lab."""
    remotes = predicted(scenario, one, seed).remotes
    with tempfile.TemporaryDirectory(prefix="nfq-classifier-bench-") as folder:
        file = Path(folder) / "gateway.toml"
        file.write_text(scenario.policy(one.method or "weighted"))
        with Lab(file, Path(folder)) as lab:
            _shape(lab)
            if one.method is None:
                _leave_to_the_kernel(lab, scenario)
            else:
                lab.start_service("--seed", str(seed))
            return _download(lab, scenario, remotes)


def _shape(lab: Lab) -> None:
    for name, rate in RATES.items():
        # As much at once as makes up for what a busy machine does not send in time. And a queue
        # that loses nothing: a sender that loses its packets on its own machine gives up on them.
        burst = max(_LEAST_BURST, round(rate * 1e6 / 8 * _BURST_SECONDS))
        shaping = ["tc", "qdisc", "add", "dev", ISP_INTERFACE, "root", "tbf"]
        lab.isps[name].run([*shaping, "rate", f"{rate}mbit", "burst", f"{burst}", "limit", "1mb"])


def _leave_to_the_kernel(lab: Lab, scenario: Scenario) -> None:
    """The service's routes and chains, with `statistic` where they lead to the queue."""
    lab.start_service("--keep")
    lab.stop_service()
    mangle = ["iptables", "-w", "-t", "mangle"]
    listed = lab.gateway.run([*mangle, "-S"]).stdout.splitlines()
    queueing = [line.split() for line in listed if "-j NFQUEUE" in line]
    if not queueing:
        raise LabError("the service left no rule that queues")
    marks = lab.policy.gateway.marks
    undecided = ["-m", "mark", "--mark", f"{marks.unclassified:#x}/{marks.mask:#x}"]
    for words in queueing:
        at = words.index("-j")
        left = [scenario.weights[uplink.name] for uplink in lab.policy.uplinks]
        for uplink in lab.policy.uplinks:
            some = _part(scenario.statistic, left) if len(left) > 1 else []
            mark = ["-j", "MARK", "--set-xmark", f"{lab.policy.mark(uplink):#x}/{marks.mask:#x}"]
            lab.gateway.run([*mangle, *words[:at], *undecided, *some, *mark])
            del left[0]
        lab.gateway.run([*mangle, "-D", *words[1:]])


def _part(mode: str, weights: Sequence[int]) -> list[str]:
    """The match of the first uplink's part of what has come so far."""
    if mode == "nth":
        how = ["nth", "--every", str(len(weights)), "--packet", "0"]
    else:
        how = ["random", "--probability", f"{weights[0] / sum(weights):.9f}"]
    return ["-m", "statistic", "--mode", *how]


def _download(lab: Lab, scenario: Scenario, remotes: Sequence[str]) -> Measured:
    names = list(lab.isps)
    with ExitStack() as ended:

        def start(place: str, *words: object) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "bench.peers.downloads", *map(str, words)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process = ended.enter_context(lab.namespaces[place].popen(command, cwd=_ROOT, **pipes))
            ended.callback(process.kill)
            return process

        for number, name in enumerate(names):
            _hear(start(name, "serve", PORT, scenario.size, number), "ready")
        together = "together" if scenario.together else "each"
        clients = start(LAN, "fetch", PORT, CLIENTS, together)
        limit = threading.Timer(_MOST_SECONDS, clients.kill)
        limit.start()
        ended.callback(limit.cancel)
        _tell(clients, json.dumps(remotes))
        _hear(clients, "ready")
        before, began = _received(lab), time.monotonic()
        _tell(clients, "go")
        _hear(clients, "begun")
        after, seconds = _received(lab), time.monotonic() - began
        said = _line(clients)
    if not said:
        raise LabError(f"downloads: they failed, or were not done within {_MOST_SECONDS:.0f} s")
    ways = json.loads(said)
    bits = 8 * sum(after[name] - before[name] for name in RATES)
    return Measured(
        100 * bits / seconds / (sum(RATES.values()) * 1e6), tuple(names[way] for way in ways)
    )


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    print(line, file=process.stdin, flush=True)


def _hear(process: subprocess.Popen[str], word: str) -> None:
    if (line := _line(process)) != word:
        raise LabError(f"downloads: {line!r} where {word!r} was to come")


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


def _received(lab: Lab) -> dict[str, int]:
    """Bytes that came in over each uplink."""
    with lab.gateway.enter():
        carried = link_bytes()
    return {uplink.name: carried[uplink.interface][0] for uplink in lab.policy.uplinks}
