"""Which uplinks the engine places new flows on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from classifier.engine.engine import Engine
from classifier.policy import Policy
from classifier.uplinks.tiers import with_active_tiers

Usable = Mapping[str, frozenset[Literal[4, 6]]]
"""Uplink to the families whose new flows it takes."""


def place(engine: Engine, policy: Policy, usable: Usable) -> None:
    """From here on flows are decided by `policy`, on the uplinks that are usable."""
    active = with_active_tiers(policy, [name for name, able in usable.items() if able])
    families = {name: (4 in able, 6 in able) for name, able in usable.items()}
    if active != engine.policy:
        engine.replace_policy(active, families)
        return
    for name, wanted in families.items():
        if engine.usable_families(name) != wanted:
            engine.set_usable(name, *wanted)
