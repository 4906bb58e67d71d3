"""A sticky entry, as it is shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StickyEntry:
    balancer: str
    by: str
    """What the balancer's entries go by: `Sticky.by`."""
    uplink: str
    """The uplink that new flows take."""
    left: float
    """Seconds until it is forgotten, unless a new flow uses it."""
