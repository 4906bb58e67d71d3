"""The difference between a host as it is and as it has to be: steps, in their order.

The order is decided here and nowhere else. What is missing comes before anything surplus goes, so
that established flows are routed all the time; routes stand before rules lead to them, and the
rules before marks do; what the host was like is noted before it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

from classifier.host import sysctls
from classifier.host.iptables import basechains, changes
from classifier.host.iptables.chains import chains
from classifier.host.iptables.programs import Variant
from classifier.host.iptables.ruleset import QUEUE_CHAIN, OurRules
from classifier.host.memory import Memory
from classifier.host.plan import NOTHING, Plan
from classifier.host.snapshot import KernelRoute, Snapshot
from classifier.host.state import PROTOCOL
from classifier.host.steps import (
    AddRoute,
    AddRule,
    AnswerWaiting,
    ChangeRules,
    DeleteBaseChains,
    DeleteHiddenJumps,
    DeleteRoute,
    DeleteRule,
    LoadModules,
    Step,
    WriteMemory,
    WriteSysctl,
)
from classifier.policy import Family


def diff(snapshot: Snapshot, plan: Plan) -> tuple[Step, ...]:
    """What leads from `snapshot` to `plan`; nothing when nothing differs. Pure."""
    noted = _noted(snapshot, plan)
    return (
        *_add_routes(snapshot, plan),
        *_add_rules(snapshot, plan),
        *_note(snapshot, plan, noted),
        *_set_sysctls(snapshot, plan),
        *_load_modules(snapshot, plan),
        *_change_rules(snapshot, plan, snapshot.firewall.variant),
        *_delete_rules(snapshot, plan),
        *_delete_routes(snapshot, plan),
        *_restore_sysctls(snapshot, noted.forgetting(_wanted(plan, noted).sysctls)),
        *_change_rules(snapshot, plan, _other(snapshot.firewall.variant)),
        *_forget(snapshot, plan, noted),
    )


def remembered(snapshot: Snapshot, plan: Plan) -> Memory:
    """What is known of the host before us once the steps to `plan` are done."""
    return _wanted(plan, _noted(snapshot, plan))


def removal(snapshot: Snapshot, answer: Callable[[], None]) -> tuple[Step, ...]:
    """The difference to nothing, for a service that still answers its queues: what waits in them
    is answered by `answer` after nothing more is queued, and before anything else goes."""
    emptied = [
        ChangeRules(variant, family, text, ruleset.ours)
        for (variant, family), ruleset in snapshot.firewall.rulesets.items()
        if (text := changes.emptied(ruleset, QUEUE_CHAIN))
    ]
    rest = diff(snapshot, NOTHING)
    return (*emptied, AnswerWaiting(answer), *rest) if rest else ()


def _other(variant: Variant) -> Variant:
    return "legacy" if variant == "nft" else "nft"


def _our_routes(snapshot: Snapshot) -> list[KernelRoute]:
    return [route for route in snapshot.routes if route.protocol == PROTOCOL]


def _add_routes(snapshot: Snapshot, plan: Plan) -> Iterator[Step]:
    there = [r for r in _our_routes(snapshot) if r.destination == "default"]
    for route in plan.routes:
        if any(old.route == route for old in there):
            continue
        place = (route.family, route.table)
        old = (o for o in there if (o.route.family, o.route.table) == place)
        yield AddRoute(route, next(old, None))


def _delete_routes(snapshot: Snapshot, plan: Plan) -> Iterator[Step]:
    replaced = {(route.family, route.table) for route in plan.routes}
    for there in _our_routes(snapshot):
        default = there.destination == "default"
        if default and (there.route.family, there.route.table) in replaced:
            continue
        yield DeleteRoute(there)


def _add_rules(snapshot: Snapshot, plan: Plan) -> Iterator[Step]:
    there = {found.rule for found in snapshot.rules if found.protocol == PROTOCOL}
    return (AddRule(rule) for rule in plan.rules if rule not in there)


def _delete_rules(snapshot: Snapshot, plan: Plan) -> Iterator[Step]:
    for found in snapshot.rules:
        if found.protocol == PROTOCOL and found.rule not in plan.rules:
            yield DeleteRule(found)


def _rules_of(plan: Plan, family: Family) -> OurRules:
    paths = [path for path in plan.paths if path.family == family]
    return chains(paths[0]) if paths else OurRules(family)


def _change_rules(snapshot: Snapshot, plan: Plan, variant: Variant) -> Iterator[Step]:
    for family in get_args(Family):
        wanted = OurRules(family)
        if variant == snapshot.firewall.variant:
            wanted = _rules_of(plan, family)
        there = snapshot.firewall.ruleset(variant, family)
        if hidden := changes.hidden_surplus(there, wanted):
            yield DeleteHiddenJumps(family, hidden)
        if text := changes.change(there, wanted):
            yield ChangeRules(variant, family, text, there.ours)


def _noted(snapshot: Snapshot, plan: Plan) -> Memory:
    """What is known of the host before us, and what is about to change."""
    known = snapshot.memory
    values: dict[str, str] = {}
    for sysctl in plan.sysctls:
        value = snapshot.sysctls.get(sysctl.key)
        if value is None or sysctl.key in known.sysctls:
            continue
        # Also one that is right already: somebody may change it, and we put it right.
        values[sysctl.key] = value
        if value != sysctl.value:
            values |= sysctls.followers(sysctl.key, snapshot.sysctls)
    needed = frozenset(chain for path in plan.paths for chain in basechains.needed(chains(path)))
    # The legacy kernel side keeps a table until the namespace ends.
    own = snapshot.firewall.variant == "nft"
    created = needed - frozenset(snapshot.firewall.nft_chains) if own else ()
    return known.noting(values, created).on(snapshot.indices)


def _wanted(plan: Plan, memory: Memory) -> Memory:
    """`memory` with the sysctls that the plan sets, and those that follow them, only."""
    wanted = {sysctl.key for sysctl in plan.sysctls}
    return memory.forgetting(
        key for key in memory.sysctls if (sysctls.switch_of(key) or key) not in wanted
    )


def _note(snapshot: Snapshot, plan: Plan, noted: Memory) -> Iterator[Step]:
    if plan is NOTHING:
        return
    variant = snapshot.firewall.variant
    before, after = snapshot.firewall.memory_lines(variant), noted.lines(snapshot.boot_id)
    if before != after:
        yield WriteMemory(variant, before, after, noted.created - snapshot.memory.created)


def _forget(snapshot: Snapshot, plan: Plan, noted: Memory) -> Iterator[Step]:
    """What has been restored needs no memory any more; and all is in one place from now on."""
    own, kept = snapshot.firewall.variant, _wanted(plan, noted)
    if plan is not NOTHING and kept != noted:
        yield WriteMemory(own, noted.lines(snapshot.boot_id), kept.lines(snapshot.boot_id))
    for variant in get_args(Variant):
        lines = snapshot.firewall.memory_lines(variant)
        if lines is not None and (plan is NOTHING or variant != own):
            yield WriteMemory(variant, lines, None)
    if plan is NOTHING and (created := noted.created & frozenset(snapshot.firewall.nft_chains)):
        yield DeleteBaseChains(created)


def _set_sysctls(snapshot: Snapshot, plan: Plan) -> Iterator[Step]:
    for sysctl in plan.sysctls:
        value = snapshot.sysctls.get(sysctl.key)
        if value not in (None, sysctl.value):
            followers = tuple(sysctls.followers(sysctl.key, snapshot.sysctls).items())
            yield WriteSysctl(sysctl.key, sysctl.value, str(value), followers)


def _restore_sysctls(snapshot: Snapshot, unwanted: Memory) -> Iterator[Step]:
    """Give sysctls the values they were found with.

    One that has another value than ours by now has been changed by somebody else, and stays. The
    switches come first, because the kernel rewrites others together with them.
    """
    turned = set()
    for key, value in sorted(
        unwanted.sysctls.items(), key=lambda item: item[0] not in sysctls.SWITCHES
    ):
        current, switch = snapshot.sysctls.get(key), sysctls.switch_of(key)
        # A stop that was killed may have turned the switch, and not what follows it.
        if switch in turned if switch else current in (sysctls.ours(key), value):
            turned.add(key)
            if current != value or switch:
                yield WriteSysctl(key, value, current or "")


def _load_modules(snapshot: Snapshot, plan: Plan) -> Iterator[Step]:
    names = tuple(m for m in plan.modules if snapshot.modules.get(m) == "loadable")
    if names:
        yield LoadModules(names)
