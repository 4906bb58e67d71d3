"""Hosts of a subnet may begin so many flows an hour on an uplink; what is beyond goes elsewhere.

    [balancers.all]
    method = "source_quota:SourceQuota"
    options = { uplink = "fibre", quotas = { "192.168.20.0/24" = 2000, "192.168.30.0/24" = 500 } }
    uplinks = ["fibre", "dsl"]

A quota is that of the whole subnet. Hosts of no subnet have none, and use all uplinks by weight.
"""

from __future__ import annotations

import random
from ipaddress import ip_network

SECONDS = 3600


class SourceQuota:
    def __init__(self, uplink: str, quotas: dict[str, int]) -> None:
        self._uplink = uplink
        self._quotas = {ip_network(subnet): quota for subnet, quota in quotas.items()}
        self._used: dict[object, int] = {}
        self._hour = -1

    def validate(self, uplinks: tuple[str, ...]) -> None:
        if self._uplink not in uplinks:
            raise ValueError(f"uplink = {self._uplink!r}: must be one of {', '.join(uplinks)}")

    def prepare(self, uplinks: tuple[str, ...], seed: int) -> None:
        self._random = random.Random(seed)

    def select(self, flow, uplinks, now):
        if now // SECONDS != self._hour:
            self._hour = now // SECONDS
            self._used.clear()
        subnet = next((subnet for subnet in self._quotas if flow.src in subnet), None)
        if subnet is None:
            return self._by_weight(uplinks)
        preferred = next((uplink for uplink in uplinks if uplink.name == self._uplink), None)
        if preferred is not None and self._used.get(subnet, 0) < self._quotas[subnet]:
            self._used[subnet] = self._used.get(subnet, 0) + 1
            return preferred
        others = [uplink for uplink in uplinks if uplink.name != self._uplink]
        return self._by_weight(others or uplinks)

    def _by_weight(self, uplinks):
        return self._random.choices(uplinks, [uplink.weight for uplink in uplinks])[0]
