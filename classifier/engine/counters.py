"""What the engine has counted since it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BalancerCounters:
    method: str
    entries: int
    """Sticky entries, those that expired and were not swept yet included."""
    evictions: int
    """Sticky entries that had to go before their time, because the table was full."""
    errors: int
    """Of a method of one's own: flows that it was to place and did not, so that the weights did,
    and batches in which it took too long."""
    last_error: str | None = None
    """What was wrong the last time, in one line."""


@dataclass(frozen=True, slots=True)
class EngineCounters:
    """Read while the engine runs, so the numbers of one reading may be a few packets apart."""

    packets: int
    """Packets that the engine was asked about."""
    malformed: int
    """Of these, packets that could not be parsed."""
    in_flight: int
    """Of these, packets of flows decided a moment before."""
    uplinks: Mapping[str, int]
    """Flows placed on each uplink."""
    rules: tuple[int, ...]
    """Flows that each rule took, in the policy's order."""
    rules_ipv6: tuple[int, ...]
    """Of these, flows of IPv6."""
    direct: int
    """Flows left to the main routing table."""
    dropped: int
    """Flows dropped by a rule or a fallback."""
    sticky_entries: int
    """Sticky entries of all balancers, those that expired and were not swept yet included."""
    sticky_size: int
    """The most sticky entries there can be."""
    balancers: Mapping[str, BalancerCounters]
    """By name."""
