"""Power of two choices on live load: two uplinks are drawn by weight, the less loaded one is used.

    [balancers.all]
    method = "two_choices:TwoChoices"
    uplinks = ["fibre", "dsl", "lte"]

Nearly as even as looking at all of them, and no herd: Mitzenmacher, "The power of two choices in
randomized load balancing", 2001. The load is the part of an uplink's capacity that is in use;
where capacity or rate is not known, the flows placed by weight stand for it.
"""

from __future__ import annotations

import random


class TwoChoices:
    def prepare(self, uplinks: tuple[str, ...], seed: int) -> None:
        self._random = random.Random(seed)

    def select(self, flow, uplinks, now):
        drawn = self._random.choices(uplinks, [uplink.weight for uplink in uplinks], k=2)
        load = _share_in_use if all(map(_known, uplinks)) else _flows_by_weight
        return min(drawn, key=load)


def _known(uplink) -> bool:
    return uplink.rate is not None and uplink.capacity is not None


def _share_in_use(uplink) -> float:
    return uplink.rate / uplink.capacity


def _flows_by_weight(uplink) -> float:
    return uplink.flows / uplink.weight
