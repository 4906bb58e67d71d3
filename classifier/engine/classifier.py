"""Decisions in Python, packet by packet, by the very engine that serves the queue."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable

from classifier.engine.counters import EngineCounters
from classifier.engine.decision import Decision
from classifier.engine.engine import Engine
from classifier.errors import UsageError
from classifier.policy import Policy

_END_OF_TIME = 1e15
"""More seconds than the engine counts, and no more than it can be told."""


class Classifier:
    """Decides packets by a policy.

    `seed` is any integer: the same packets at the same times with the same seed come to the same
    decisions. None takes one from the system.
    """

    def __init__(self, policy: Policy, seed: int | None = None) -> None:
        self.engine = Engine(policy, secrets.randbits(64) if seed is None else seed)

    @property
    def policy(self) -> Policy:
        return self.engine.policy

    def classify(
        self,
        packet: bytes | bytearray | memoryview,
        now: float,
        in_interface: str | None = None,
        user: int | None = None,
    ) -> Decision:
        """Decides one packet.

        packet: its bytes from the IP header on; the first 128 are looked at.
        now: seconds since any moment, 0 or later; a time before the last one counts as the last.
        UsageError: it is no number, or infinite.
        in_interface: name of the interface it came in on.
        user: numeric id of the user whose socket sent it, for the gateway's own flows.
        """
        return self.engine.classify(packet, milliseconds(now), in_interface, user)

    def classify_many(
        self,
        packets: Iterable[bytes | bytearray | memoryview],
        now: float,
        in_interface: str | None = None,
    ) -> list[Decision]:
        """Decides packets that came at the same time, in their order."""
        return self.engine.classify_many(packets, milliseconds(now), in_interface)

    def set_up(self, uplink: str, up: bool) -> None:
        """Says that an uplink is up or down. UsageError: the policy has no such uplink."""
        self.engine.set_usable(uplink, up, up)

    def counters(self) -> EngineCounters:
        return self.engine.counters()


def milliseconds(seconds: float) -> int:
    """The engine's time; a time before 0 counts as 0, one beyond its last as that."""
    if not math.isfinite(seconds):
        raise UsageError(f"now = {seconds}: must be a number of seconds")
    return round(min(max(seconds, 0.0), _END_OF_TIME) * 1000)
