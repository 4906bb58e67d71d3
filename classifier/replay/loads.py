"""Loads of uplinks in a replay: an engine is told them as the service tells what it measures."""

from __future__ import annotations

from classifier.engine.engine import Engine
from classifier.engine.load_meter import SAMPLE_SECONDS, LoadMeter
from classifier.policy import Family, Policy
from classifier.replay.carried import Carried

_INTERVAL = round(SAMPLE_SECONDS * 1000)


class SampledLoads:
    """Samples what was carried, from the start on; times are milliseconds of the capture."""

    def __init__(self, engine: Engine, policy: Policy, carried: Carried) -> None:
        self._meter = LoadMeter(engine)
        self._ids = {uplink.name: uplink.id for uplink in policy.uplinks}
        self._carried = carried
        self.next_at = 0

    def run(self, now: int) -> list[tuple[int, Family]]:
        """Take the samples that are due; no connection ends by that."""
        bytes_of = {name: self._carried.of(number) for name, number in self._ids.items()}
        self._meter.sample(self.next_at / 1000, bytes_of)
        latest = now - now % _INTERVAL
        if latest > self.next_at:
            # Nothing was carried since.
            self._meter.sample(latest / 1000, bytes_of)
        self.next_at = latest + _INTERVAL
        return []
