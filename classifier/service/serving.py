"""Whether some service answers the queues that the rules of this network namespace send to.

Runtime directories tell gateways apart by what they were told; this asks the kernel, and so also
sees a service that was given another runtime directory, or hangs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

from classifier.errors import ConflictError
from classifier.host import xtables
from classifier.host.state import QUEUE_CHAIN, Family, Variant
from classifier.queue.kernel_queues import kernel_queues
from classifier.queue.owner import owner

_TARGET = re.compile(r"-j NFQUEUE --queue-(?:num|balance) (\d+)")


def serving() -> str | None:
    """Which process answers the first queue of our rules; None: no rules, or nobody does.

    Of the calling thread's network namespace. Raises HostError.
    """
    try:
        bound = {queue.number: queue.portid for queue in kernel_queues()}
    except PermissionError:
        return None  # this user is not shown queues; binding a held one will fail all the same
    numbers = [number for number in _queued_to() if number in bound]
    return owner(bound[numbers[0]]) if numbers else None


def check_alone() -> None:
    """Raises ConflictError when a service is here already: two would fight over the rules."""
    if holder := serving():
        raise ConflictError(
            f"a gateway is served in this network namespace already, by {holder}; stop it first"
        )


def _queued_to() -> Iterator[int]:
    for variant in get_args(Variant):
        for family in get_args(Family):
            yield from _queues_of(variant, family)


def _queues_of(variant: Variant, family: Family) -> Iterator[int]:
    if not xtables.is_used(variant, family):
        return
    for rule in xtables.save(variant, family).chain("mangle", QUEUE_CHAIN) or ():
        if found := _TARGET.search(rule):
            yield int(found[1])
