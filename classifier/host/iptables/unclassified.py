"""How many new flows passed unclassified, as a rule of ours has counted."""

from __future__ import annotations

import re
from typing import get_args

from classifier.errors import HostError
from classifier.host.iptables import programs
from classifier.host.iptables.programs import Variant
from classifier.host.iptables.ruleset import SAVE_CHAIN
from classifier.host.state import Family

_UNANSWERED = re.compile(
    rf"^\[(\d+):\d+\] -A {SAVE_CHAIN} -m mark --mark \S+ -j MARK ", re.MULTILINE
)


def unclassified(variant: Variant | None = None) -> int | None:
    """New flows that no classifier answered and that were left `direct`, since the rule is there.

    Counts IPv4 and IPv6 in the calling thread's network namespace; None where our chains are not.
    Raises HostError when iptables cannot be asked.
    """
    variant = variant or programs.installed_variant()
    counts = [count for f in get_args(Family) if (count := _count(variant, f)) is not None]
    return sum(counts) if counts else None


def _count(variant: Variant, family: Family) -> int | None:
    if not programs.program(variant, family, "save"):
        return None
    try:
        text = programs.save(variant, family, "-c", "-t", "mangle")
    except HostError:
        if family == 6:  # a kernel without IPv6
            return None
        raise
    found = _UNANSWERED.search(text)
    return int(found[1]) if found else None
