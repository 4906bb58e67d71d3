"""What the firewall has counted."""

from __future__ import annotations

import re
from typing import get_args

from classifier.errors import HostError
from classifier.host import xtables
from classifier.host.state import SAVE_CHAIN, Family, Variant

_UNANSWERED = re.compile(
    rf"^\[(\d+):\d+\] -A {SAVE_CHAIN} -m mark --mark \S+ -j MARK ", re.MULTILINE
)


def unclassified(variant: Variant | None = None) -> int:
    """New flows that no classifier answered and that were left `direct`, since `apply`.

    Counts IPv4 and IPv6 in the calling thread's network namespace; 0 where our chains are not.
    Raises HostError when iptables cannot be asked.
    """
    variant = variant or xtables.installed_variant()
    return sum(_count(variant, family) for family in get_args(Family))


def _count(variant: Variant, family: Family) -> int:
    if not xtables.program(variant, family, "save"):
        return 0
    try:
        text = xtables.save_text(variant, family, "-c", "-t", "mangle")
    except HostError:
        if family == 6:  # a kernel without IPv6
            return 0
        raise
    return sum(int(match[1]) for match in _UNANSWERED.finditer(text))
