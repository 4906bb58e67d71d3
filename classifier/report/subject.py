"""What a page is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from classifier.policy import Policy


@dataclass(frozen=True, slots=True)
class Subject:
    """What a page is about, in the words of who asks for it."""

    policy: Policy
    name: str
    """Of the policy: its file."""
    sources: Sequence[str]
    """Where the traffic comes from: captures, or what is simulated."""
    other_name: str = ""
    """Of the policy that the report compares it with, if any."""
    command: str = "replay"
    """Which made the report."""
    foot: str = (
        "Bytes are lengths of IP packets. Loads are those of the capture, as if every uplink had"
        " carried whatever it was given."
    )
    """What has to be known about the numbers."""
