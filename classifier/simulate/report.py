"""What came out of a simulation: a replay's report, and how the uplinks bore the flows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from classifier.replay import Report


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds from a flow's beginning to its end; None where no flow has ended.

    `median` and `p95` (95 of 100 flows took no longer) are exact to 1 %.
    """

    mean: float | None
    median: float | None
    p95: float | None

    @classmethod
    def of(cls, count: int, total: float, steps: Mapping[float, int]) -> Self:
        """Of so many flows that took `total` seconds; `steps` counts them by seconds."""
        if not count:
            return cls(None, None, None)
        return cls(total / count, _quantile(steps, count, 0.5), _quantile(steps, count, 0.95))


@dataclass(frozen=True, slots=True)
class Load:
    """What an uplink bore."""

    capacity: int | None
    """Bytes per second towards the LAN; None: the policy says none."""
    throughput: int | None
    """Bytes per second while flows began; None where all began at once."""
    utilisation: float | None
    """`throughput` out of `capacity`, 0 to 1."""
    peak: int
    """Bytes per second in the busiest second."""
    most_flows: int
    """At the same time."""
    cut: int
    """Flows that ended when the uplink went down, before all of their bytes had come."""
    durations: Durations


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation(Report):
    """The report of a simulation. `seconds` is the simulated time until the last flow has ended. A
    flow's bytes are those it downloads, its packets those of 1500 bytes that hold them; no flow is
    inbound, no packet malformed, untracked or without IP."""

    offered: int | None
    """Bytes per second of the flows that began, while they began; None where all began at once."""
    throughput: int | None
    """Bytes per second that all uplinks carried meanwhile."""
    durations: Durations
    """Of the flows on uplinks."""
    loads: Mapping[str, Load]
    """By uplink, in the order of the policy."""


def _quantile(steps: Mapping[float, int], count: int, part: float) -> float:
    left = part * count
    for seconds in sorted(steps):
        left -= steps[seconds]
        if left <= 0:
            break
    return seconds
