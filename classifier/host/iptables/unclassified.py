"""How many new flows passed unclassified, as a rule of ours has counted."""

from __future__ import annotations

import re
from typing import get_args

from classifier.errors import HostError
from classifier.host.iptables import basechains, programs
from classifier.host.iptables.programs import Variant
from classifier.host.iptables.ruleset import SAVE_CHAIN
from classifier.host.memory import BaseChain
from classifier.policy import Family

_RULE = rf"-A {SAVE_CHAIN} -m mark --mark \S+"
_LISTED = re.compile(rf"^{_RULE} -c (\d+) \d+ -j MARK ", re.MULTILINE)
_SAVED = re.compile(rf"^\[(\d+):\d+\] {_RULE} -j MARK ", re.MULTILINE)
_ABSENT = ("No chain/target/match by that name", "is incompatible")
"""How versions of iptables-nft say that there is no such chain."""


def unclassified(variant: Variant | None = None) -> int | None:
    """New flows that no classifier answered and that were left `direct`, since the rule is there.

    Counts IPv4 and IPv6 in the calling thread's network namespace; None where our chains are not.
    Raises HostError when iptables cannot be asked.
    """
    variant = variant or programs.installed_variant()
    counts = [count for f in get_args(Family) if (count := _count(variant, f)) is not None]
    return sum(counts) if counts else None


def _count(variant: Variant, family: Family) -> int | None:
    if variant == "legacy":
        return _legacy_count(family)
    if not programs.program(variant, family):
        return None
    try:
        # Only this chain: others may have thousands of rules, or such as iptables cannot read.
        text = programs.list_chain(variant, family, "mangle", SAVE_CHAIN, "-v")
    except HostError as error:
        if family == 6 or any(words in str(error) for words in _ABSENT):
            return None
        raise
    found = _LISTED.search(text)
    return int(found[1]) if found else None


def _legacy_count(family: Family) -> int | None:
    # The legacy program would load its table just to say that there is no chain.
    if BaseChain(family, "mangle") not in basechains.legacy_tables():
        return None
    # Not iptables, which waits for /run/xtables.lock also to list, however long others hold it.
    found = _SAVED.search(programs.save("legacy", family, "-t", "mangle", "-c"))
    return int(found[1]) if found else None
