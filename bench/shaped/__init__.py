"""Shaped: downloads over uplinks of 20, 10 and 5 Mbit/s; how much of the lines each method uses.

Measured in the lab, with tbf on the ISPs' ends, and predicted by `simulate` from the same policy,
seed, clients and remotes. The kernel's own `statistic` stands in the very place of the queue, with
the service's routes and connection marks.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

from bench.counts import count
from bench.shaped.paper import predicted
from bench.shaped.result import Row, Shaped, Table, drawn, used
from bench.shaped.scenario import CONTENDERS, SCENARIOS, Contender, Scenario
from bench.shaped.wires import Measured, measured

HELP = "downloads over uplinks of 20, 10 and 5 Mbit/s, by least-loaded, nth, hash, statistic"

_DRAWS = 40
"""Simulations of a method whose draws nobody can know."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs",
        type=count,
        default=3,
        help="shaped: runs per method, each with a seed and remotes of its own (%(default)s)",
    )


def run(options: argparse.Namespace) -> Shaped:
    """Raises LabError where this kernel cannot hold the lab, or shape its lines."""
    seeds = range(options.seed, options.seed + options.runs)
    return Shaped("shaped", len(seeds), tuple(_table(scenario, seeds) for scenario in SCENARIOS))


def _table(scenario: Scenario, seeds: range) -> Table:
    runs = [_side_by_side(scenario, seed) for seed in seeds]
    rows = tuple(_row(scenario, one, seeds, [run[one.name] for run in runs]) for one in CONTENDERS)
    return Table(scenario.what, rows)


def _side_by_side(scenario: Scenario, seed: int) -> dict[str, Measured]:
    """Each contender in a lab of its own, all at the same time, so that whatever else this machine
    does meets them alike."""
    with ThreadPoolExecutor(len(CONTENDERS)) as threads:
        begun = {one.name: threads.submit(measured, scenario, one, seed) for one in CONTENDERS}
        return {name: future.result() for name, future in begun.items()}


def _row(scenario: Scenario, one: Contender, seeds: range, runs: list[Measured]) -> Row:
    random = scenario.draws(one)
    # Of what draws at random, other seeds say as much as these.
    simulated = range(seeds.start, seeds.start + _DRAWS) if random else seeds
    papers = [predicted(scenario, one, seed) for seed in simulated]
    alike = None
    if one.exact and not random:
        pairs = [zip(run.ways, paper.ways, strict=True)
                 for run, paper in zip(runs, papers, strict=True)]  # fmt: skip
        alike = sum(way == expected for pair in pairs for way, expected in pair)
    return Row(
        one.name,
        used([run.percent for run in runs]),
        (drawn if random else used)([paper.percent for paper in papers]),
        scenario.flows * len(runs),
        alike,
        scenario.target if one.knows_load else None,
    )
