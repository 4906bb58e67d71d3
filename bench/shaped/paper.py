"""What `simulate` says about a scenario."""

from __future__ import annotations

from dataclasses import dataclass

from bench.shaped.scenario import CLIENTS, PORT, RATES, Contender, Scenario
from classifier import simulate
from classifier.config import parse_policy


@dataclass(frozen=True, slots=True)
class Paper:
    percent: float
    """Of the lines, until the last flow has begun."""
    ways: tuple[str, ...]
    """Uplink of each flow, in order of their beginnings."""
    remotes: tuple[str, ...]


def predicted(scenario: Scenario, one: Contender, seed: int) -> Paper:
    method = one.method or {"nth": "nth", "random": "weighted"}[scenario.statistic]
    simulation = simulate(
        parse_policy(scenario.policy(method)),
        scenario.flows,
        parallel=CLIENTS,
        together=scenario.together,
        remotes=f"uniform:{scenario.remotes}",
        bytes=f"constant:{scenario.size}",
        ports=f"tcp/{PORT}",
        hosts=1,
        seed=seed,
    )
    return Paper(
        100 * (simulation.throughput or 0) * 8 / (sum(RATES.values()) * 1e6),
        tuple(str(flow.uplink) for flow in simulation.decisions),
        tuple(flow.dst for flow in simulation.decisions),
    )
