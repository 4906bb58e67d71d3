"""Which uplinks the engine places new flows on."""

from __future__ import annotations

from collections.abc import Mapping

from classifier.engine.engine import Engine
from classifier.policy import Family, Policy

Usable = Mapping[str, frozenset[Family]]
"""Uplink to the families whose new flows it takes."""


def place(engine: Engine, policy: Policy, usable: Usable) -> None:
    """From here on flows are decided by `policy`, on the uplinks that are usable."""
    families = {name: (4 in able, 6 in able) for name, able in usable.items()}
    if policy != engine.policy:
        engine.replace_policy(policy, families)
    elif any(engine.usable_families(name) != wanted for name, wanted in families.items()):
        engine.set_usable_families(families)
