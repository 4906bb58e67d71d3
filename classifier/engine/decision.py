"""What the engine says about one flow."""

from __future__ import annotations

from dataclasses import dataclass

REASONS = (
    "pinned", "nth", "weighted", "hash", "custom", "sticky", "in-flight", "direct", "drop",
    "fallback", "malformed", "least-loaded", "overflow", "fastest",
)  # fmt: skip
"""Why a decision came out as it did; the engine speaks of them by index."""


@dataclass(frozen=True, slots=True)
class Decision:
    uplink: str | None
    """Name of the uplink; None when the flow is direct, dropped or malformed."""
    rule: str | None
    """Name of the rule that took the flow; None when no rule did."""
    reason: str
    """One of `REASONS`."""
    mark: int
    """The bits to set under the policy's mask; 0 for a dropped or malformed packet."""
