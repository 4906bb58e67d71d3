"""Tells the engine how loaded uplinks are, by the counters of their interfaces and their probes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from classifier.engine.engine import Engine
from classifier.engine.load_meter import SAMPLE_SECONDS, LoadMeter, wants_loads
from classifier.policy import Uplink
from classifier.service.uplinks import link_bytes


class LoadSampler:
    """Of one engine. `latency` gives seconds as an uplink's probes measured them, or None."""

    def __init__(self, engine: Engine, latency: Callable[[Uplink], float | None]) -> None:
        self._engine = engine
        self._latency = latency
        self._meter = LoadMeter(engine)

    async def keep_sampling(self) -> None:
        """Sample twice a second while a balancer of the policy wants it, until cancelled."""
        while True:
            if wants_loads(self._engine.policy):
                self.sample()
            await asyncio.sleep(SAMPLE_SECONDS)

    def sample(self) -> None:
        """Tell the engine what it is now."""
        read, now = link_bytes(), time.monotonic()
        uplinks = self._engine.policy.uplinks
        self._meter.sample(
            now,
            {u.name: read[u.interface] for u in uplinks if u.interface in read},
            {u.name: self._latency(u) for u in uplinks},
        )
