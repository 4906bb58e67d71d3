"""Methods of users, in the queue: every packet is a new flow that a method has to place.

As `drain`, with a policy of one rule and no sticky entries, so that nothing comes between the flow
and its method.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench import drain
from bench.compiled import compiled
from bench.limits import Limits, Measure
from bench.result import Times
from bench.traffic import packets

HELP = "new flows placed by a method in Python and in Cython: against one built in"

_HERE = Path(__file__).parent
_PYTHON = {
    "two choices": ("two_choices:TwoChoices", "examples/two_choices.py"),
    "quota": ("source_quota:SourceQuota", "examples/source_quota.py"),
}
_CYTHON = "fewest:Fewest"
_BUILT_IN = "nth"
_MOST_NANOSECONDS = 20_000.0
"""50,000 flows a second, by one core that has nothing else to do."""
_MOST_PERCENT = 110.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own; `--packets` is that of drain."""


def run(options: argparse.Namespace) -> Limits:
    """Raises QueueError when a flow is not placed, UsageError when Cython cannot be compiled."""
    traffic = packets(options.packets, options.seed)
    warming = packets(options.packets // 4, options.seed + 1)
    rounds: list[dict[str, Times]] = []
    methods = [_BUILT_IN, _CYTHON, *(method for method, _ in _PYTHON.values())]
    with tempfile.TemporaryDirectory(prefix="nfq-classifier-bench-") as folder:
        compiled(_HERE / "peers" / "fewest.pyx", Path(folder))
        places = f"{folder}:{_HERE.parent / 'examples'}"
        for turn in range(options.rounds):
            order = methods[turn % len(methods) :] + methods[: turn % len(methods)]
            rounds.append({m: drain.measure(_command(m, places), warming, traffic) for m in order})
    return Limits("methods", options.rounds, tuple(_rows(rounds)))


def _command(method: str, places: str) -> list[str]:
    return [sys.executable, "-m", "bench.peers.method", method, places]


def _rows(rounds: list[dict[str, Times]]) -> list[Measure]:
    built_in = [times[_BUILT_IN].cpu for times in rounds]
    percent = [100 * times[_CYTHON].cpu / times[_BUILT_IN].cpu for times in rounds]
    rows = [
        Measure("nth", "CPU time of a flow, built in", "ns", median(built_in), min(built_in),
                _MOST_NANOSECONDS),
        Measure("Cython", "CPU time, held against nth", "%", median(percent), min(percent),
                _MOST_PERCENT),
    ]  # fmt: skip
    for name, (method, file) in _PYTHON.items():
        cpu = [times[method].cpu for times in rounds]
        rows.append(
            Measure(name, f"CPU time of a flow, {file}", "ns", median(cpu), min(cpu),
                    _MOST_NANOSECONDS)
        )  # fmt: skip
    return rows
