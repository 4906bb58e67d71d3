"""Whether what a plan needs is free: mark bits, rule priorities, routing tables, queues.

Everything that is held by something else is found before the first change, and told at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from classifier.host.iptables import foreign
from classifier.host.iptables.programs import Variant
from classifier.host.nftables import marks
from classifier.host.plan import Plan
from classifier.host.snapshot import Snapshot
from classifier.host.state import PRIORITIES, PROTOCOL, table_of
from classifier.policy import Family, Policy


def conflicts(policy: Policy, snapshot: Snapshot, plan: Plan) -> tuple[str, ...]:
    """One line for everything on the host that stands in the way of `plan`.

    Leftovers of our own (protocol 78, chains with our prefix) are no conflicts: they are taken
    over.
    """
    families = [path.family for path in plan.paths]
    found = [
        *_rules(policy, snapshot, families, {rule.priority for rule in plan.rules}),
        *_routes(policy, snapshot, families),
        *_iptables(policy, snapshot, families),
        *marks.conflicts(snapshot.firewall.native, policy),
        *_queues(policy, snapshot),
    ]
    return tuple(dict.fromkeys(found))


def _tables(policy: Policy) -> frozenset[int]:
    return frozenset(map(table_of, policy.uplinks))


def _rules(
    policy: Policy, snapshot: Snapshot, families: list[Family], wanted: set[int]
) -> Iterator[str]:
    tables, ours = _tables(policy), policy.gateway.mask
    for found in snapshot.rules:
        rule = found.rule
        if found.protocol == PROTOCOL or rule.family not in families:
            continue
        what = f'IPv{rule.family} routing rule "{found}"'
        if rule.priority in PRIORITIES:
            yield f"{what} has a priority of ours ({PRIORITIES.start} to {PRIORITIES.stop - 1})"
        elif rule.priority in wanted:
            yield f"{what} has the priority of a rule of ours"
        if rule.table in tables:
            yield f"{what} uses table {rule.table}, which is an uplink's"
        if rule.mark is not None and _tests_ours(*rule.mark, ours):
            yield (f"{what} tests mark bits that are ours; change it, or gateway.mask (0x{ours:x})")


def _tests_ours(value: int, mask: int, ours: int) -> bool:
    # A full mask with none of our bits set means packets that we have not marked: allowed.
    return bool(value & mask & ours) or (value == 0 and bool(mask & ours))


def _routes(policy: Policy, snapshot: Snapshot, families: list[Family]) -> Iterator[str]:
    tables = _tables(policy)
    for found in snapshot.routes:
        route = found.route
        if found.protocol != PROTOCOL and route.table in tables and route.family in families:
            where = f"table {route.table}, which is an uplink's"
            yield f'IPv{route.family} route "{found}" is in {where}'


def _iptables(policy: Policy, snapshot: Snapshot, families: list[Family]) -> Iterator[str]:
    for variant in get_args(Variant):
        for family in families:
            yield from foreign.conflicts(
                variant, snapshot.firewall.ruleset(variant, family), policy
            )


def _queues(policy: Policy, snapshot: Snapshot) -> Iterator[str]:
    for queue in snapshot.queues:
        # Those that our rules send to are a gateway's, which the lock of the namespace tells.
        if queue.number in policy.queue.numbers and queue.number not in snapshot.firewall.queued_to:
            yield f"queue {queue.number} is bound by {queue.owner}; change it, or queue.first"
