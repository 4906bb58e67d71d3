"""What `status` tells: the figures of engine, queues and host as one plain value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from classifier.engine.counters import EngineCounters
from classifier.host.state import table_of
from classifier.policy import Policy
from classifier.queue.packet_queue import QueueCounters
from classifier.service.shares import wanted
from classifier.uplinks.placing import Usable


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """Sums over all queues."""

    packets: int = 0
    """Packets read from the queues."""
    dropped: int = 0
    """Packets the kernel dropped because a queue or its socket was full."""
    unclassified: int = 0
    """New flows that passed as direct because no classifier answered."""
    counters: QueueCounters = field(default_factory=QueueCounters)


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that one answer is made of, read at one moment."""

    policy: Policy
    lives: Mapping[str, Mapping[str, Any]]
    """Uplink to state, reason, since and so on."""
    usable: Usable
    counters: EngineCounters
    queue: QueueFigures
    uptime: float
    """Seconds since the start."""
    healed: int = 0
    """How often what other programs had changed was put right."""
    reloads: int = 0
    """How often another policy was taken since the start."""
    hooks: tuple[int, int] = (0, 0)
    """How often `gateway.on_change` was started, and how often that went wrong."""
    bytes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Interface to bytes received and sent."""
    warnings: tuple[str, ...] = ()
    """What is not as it should be, as sentences."""


def render(figures: Figures) -> dict[str, Any]:
    """The object that `status --json` prints; its keys are part of the contract."""
    counters, policy = figures.counters, figures.policy
    placed = sum(counters.uplinks.values())
    ipv6 = counters.rules_ipv6
    by_family = [(count - six, six) for count, six in zip(counters.rules, ipv6, strict=True)]
    by_weights = wanted(policy, figures.usable, by_family)
    return {
        "uplinks": {
            uplink.name: {
                **figures.lives[uplink.name],
                **dict(
                    zip(
                        ("bytes_in", "bytes_out"),
                        figures.bytes.get(uplink.interface, (None, None)),
                        strict=True,
                    )
                ),
                "id": uplink.id,
                "mark": policy.mark(uplink),
                "table": table_of(uplink),
                "weight": uplink.weight,
                "flows": counters.uplinks[uplink.name],
                "share": counters.uplinks[uplink.name] / placed if placed else 0.0,
                "wanted": by_weights.get(uplink.name),
            }
            for uplink in policy.uplinks
        },
        "rules": [
            {"name": rule.name, "flows": flows}
            for rule, flows in zip(policy.rules, counters.rules, strict=True)
        ],
        "direct": {"flows": counters.direct},
        "drop": {"flows": counters.dropped},
        "queue": {
            "packets": figures.queue.packets,
            "dropped": figures.queue.dropped,
            "unclassified": figures.queue.unclassified,
            "malformed": counters.malformed,
            "in-flight": counters.in_flight,
            "late-verdicts": figures.queue.counters.late_verdicts,
            "errors": figures.queue.counters.errors,
            "overruns": figures.queue.counters.overruns,
        },
        "balancers": {
            name: {
                "method": balancer.method,
                "entries": balancer.entries,
                "evictions": balancer.evictions,
                "errors": balancer.errors,
            }
            for name, balancer in counters.balancers.items()
        },
        "sticky": {"entries": counters.sticky_entries, "size": counters.sticky_size},
        "healed": figures.healed,
        "reloads": figures.reloads,
        "hooks": dict(zip(("runs", "failures"), figures.hooks, strict=True)),
        "uptime": figures.uptime,
        "warnings": list(figures.warnings),
    }
