"""Whether what a plan needs is free: mark bits, rule priorities, routing tables.

Everything that is held by something else is found before the first change, and told at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import get_args

from classifier.errors import ConflictError
from classifier.host import nftmarks, xtables
from classifier.host.kernel import Kernel, KernelRule
from classifier.host.state import IPTABLES, PRIORITIES, PROTOCOL, Family, HostPlan, Variant

_SETS_MARK = re.compile(
    r"-j (?:MARK|CONNMARK) --set-xmark (0x[0-9a-f]+)/|--tproxy-mark (0x[0-9a-f]+)/"
)


def check(plan: HostPlan) -> None:
    """Raises ConflictError with one line for everything that stands in the way of `plan`.

    Leftovers of our own (protocol 78, chains with our prefix) are no conflicts: `apply` takes them
    over. Changes nothing.
    """
    with Kernel() as kernel:
        findings = [
            *(finding for f in _families(plan) for finding in _rules(plan, kernel.rules(f))),
            *(finding for f in _families(plan) for finding in _routes(plan, kernel, f)),
        ]
    findings += [*_iptables(plan), *nftmarks.conflicts(plan.mask)]
    if findings:
        raise ConflictError("\n".join(dict.fromkeys(findings)))


def _families(plan: HostPlan) -> Iterator[Family]:
    return (firewall.family for firewall in plan.firewalls)


def _tables(plan: HostPlan) -> frozenset[int]:
    """Those of all uplinks, also of such as have no route yet."""
    return frozenset(
        rule.table for rule in plan.rules if rule.table and rule.mark and not rule.inverted
    )


def _rules(plan: HostPlan, there: Iterable[KernelRule]) -> Iterator[str]:
    tables = _tables(plan)
    for found in there:
        rule = found.rule
        if found.protocol == PROTOCOL:
            continue
        what = f'IPv{rule.family} routing rule "{found}"'
        if rule.priority in PRIORITIES:
            yield f"{what} has a priority of ours ({PRIORITIES.start} to {PRIORITIES.stop - 1})"
        if rule.table in tables:
            yield f"{what} uses table {rule.table}, which is an uplink's"
        if rule.mark is not None and _tests_ours(*rule.mark, plan.mask):
            yield f"{what} tests mark bits that are ours; {_advice(plan.mask)}"


def _tests_ours(value: int, mask: int, ours: int) -> bool:
    # A full mask with none of our bits set means packets that we have not marked: allowed.
    return bool(value & mask & ours) or (value == 0 and bool(mask & ours))


def _routes(plan: HostPlan, kernel: Kernel, family: Family) -> Iterator[str]:
    tables = _tables(plan)
    for found in kernel.routes(family):
        if found.protocol != PROTOCOL and found.route.table in tables:
            table = found.route.table
            yield f'IPv{family} route "{found}" is in table {table}, which is an uplink\'s'


def _iptables(plan: HostPlan) -> Iterator[str]:
    for variant in get_args(Variant):
        for family in _families(plan):
            if xtables.is_used(variant, family):
                yield from saved_conflicts(variant, xtables.save(variant, family), plan.mask)


def saved_conflicts(variant: Variant, saved: xtables.Saved, ours: int) -> Iterator[str]:
    """Foreign rules that set bits of `ours` on packets or connections."""
    program = f"{IPTABLES[saved.family]}-{variant}"
    for table, chains in saved.tables.items():
        for name, rules in chains.items():
            if xtables.is_ours(name):
                continue
            for rule in rules:
                match = _SETS_MARK.search(xtables.unquoted(rule))
                bits = int(match[1] or match[2], 16) & ours if match else 0
                if bits:
                    what = f'{program} -t {table} rule "-A {name} {rule}"'
                    yield f"{what} sets mark bits 0x{bits:x} that are ours; {_advice(ours)}"


def _advice(mask: int) -> str:
    return f"change it, or gateway.mask (0x{mask:x})"
