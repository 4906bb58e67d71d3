"""Make the host match a plan, changing only what differs."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import get_args

from classifier.errors import HostError
from classifier.host import basechains, found, restoring, sysctls, xtables
from classifier.host.kernel import Kernel
from classifier.host.state import FOUND_CHAIN, Family, Firewall, HostPlan, other_variant

_log = logging.getLogger(__name__)


def apply(plan: HostPlan) -> None:
    """Make the calling thread's network namespace match `plan`.

    May be called again, with the same plan or another, and after a crash of whoever called it
    before: what is right already is not touched, and what is missing comes before anything
    surplus goes, so that established flows are routed all the time.

    Raises HostError, naming the step, the value and what the kernel said, after everything this
    call has changed is as it was before it.
    """
    check_interfaces(plan)
    with Kernel() as kernel, _Undo() as undo:
        _add_routes(plan, kernel, undo)
        _add_rules(plan, kernel, undo)
        _remember(plan, undo)
        _write_sysctls(plan)
        _load_modules(plan)
        _change_firewalls(plan, undo)
        _delete_surplus(plan, kernel, undo)
        _restore_unwanted_sysctls(plan)
        _remove_other_variant(plan)
        undo.keep()


def check_interfaces(plan: HostPlan) -> None:
    """Raises HostError naming every interface that the policy names and the host does not have."""
    if plan.missing:
        raise HostError(f"there is no interface {', '.join(plan.missing)}")


@dataclass
class _Undo:
    """What takes each change back, done in reverse when the block is left before `keep`."""

    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> _Undo:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def later(self, step: Callable[[], object]) -> None:
        self._stack.callback(self._try, step)

    def keep(self) -> None:
        self._stack.pop_all()

    @staticmethod
    def _try(step: Callable[[], object]) -> None:
        # One step that cannot be taken back must not keep the others from it, nor hide why.
        try:
            step()
        except HostError as error:
            _log.error("while undoing: %s", error)


def _add_routes(plan: HostPlan, kernel: Kernel, undo: _Undo) -> None:
    there = [r for r in kernel.our_routes() if r.destination == "default"]
    for route in plan.routes:
        if any(old.route == route for old in there):
            continue
        old = next(
            (o for o in there if (o.route.family, o.route.table) == (route.family, route.table)),
            None,
        )
        kernel.replace_route(route)
        if old is not None:
            undo.later(partial(kernel.put_back_route, old))
        else:
            undo.later(partial(_delete_route, kernel, route))


def _delete_route(kernel: Kernel, route: object) -> None:
    for there in kernel.our_routes():
        if there.route == route:
            kernel.delete_route(there)


def _add_rules(plan: HostPlan, kernel: Kernel, undo: _Undo) -> None:
    there = {old.rule for old in kernel.our_rules()}
    for rule in plan.rules:
        if rule not in there:
            kernel.add_rule(rule)
            undo.later(partial(_delete_rule, kernel, rule))


def _delete_rule(kernel: Kernel, rule: object) -> None:
    for there in kernel.our_rules():
        if there.rule == rule:
            kernel.delete_rule(there)


def _remember(plan: HostPlan, undo: _Undo) -> None:
    """Note what is about to change, before it changes."""
    there = found.read(plan.variant)
    before = found.read_all(plan.variant)
    values: dict[str, str] = {}
    for sysctl in plan.sysctls:
        value = sysctls.read(sysctl.key)
        if value is None or value == sysctl.value or sysctl.key in before.sysctls:
            continue
        values[sysctl.key] = value
        for key, follows in sysctls.follow_switch(sysctl.key).items():
            if (current := sysctls.read(key)) not in (None, follows):
                values[key] = str(current)
    memory = before.noting(values, _created(plan))
    if memory != there or not there.exists:
        found.write(plan.variant, memory)
        undo.later(partial(restoring.forget_since, plan.variant, there, before))


def _created(plan: HostPlan) -> frozenset[basechains.BaseChain]:
    """The builtin tables and chains that will come into being and can be taken away again."""
    if plan.variant == "legacy":
        return frozenset()  # this kernel side keeps a table until the namespace ends
    needed = {basechains.BaseChain(4, "mangle")}
    for firewall in plan.firewalls:
        needed |= basechains.needed(firewall)
    existing = {c for f in plan.firewalls for c in basechains.existing(plan.variant, f.family)}
    return frozenset(needed - existing)


def _write_sysctls(plan: HostPlan) -> None:
    """Undone together with the memory of them (see `_remember`)."""
    for sysctl in plan.sysctls:
        if sysctls.read(sysctl.key) not in (None, sysctl.value):
            sysctls.write(sysctl.key, sysctl.value)


def _load_modules(plan: HostPlan) -> None:
    """Best effort: they may be built in, or loaded by the kernel when asked for."""
    modprobe = shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if modprobe and plan.modules:
        subprocess.run([modprobe, "-a", "-q", *plan.modules], check=False, capture_output=True)


def _change_firewalls(plan: HostPlan, undo: _Undo) -> None:
    wanted = {firewall.family: firewall for firewall in plan.firewalls}
    for family in get_args(Family):
        firewall = wanted.get(family, Firewall(family))
        if family not in wanted and not basechains.existing(plan.variant, family):
            continue
        there = xtables.save(plan.variant, family)
        if text := xtables.change(there, firewall):
            # Noted before, since iptables-restore changes one table after the other.
            undo.later(partial(restoring.restore_firewall, plan.variant, there.ours))
            xtables.restore(plan.variant, family, text)


def _remove_other_variant(plan: HostPlan) -> None:
    """Chains that were left by this program when `iptables` was the other of the two."""
    other = other_variant(plan.variant)
    for family in get_args(Family):
        if not xtables.is_used(other, family):
            continue
        there = xtables.save(other, family)
        xtables.restore(other, family, xtables.change(there, Firewall(family)))
        if there.chain("mangle", FOUND_CHAIN) is not None:
            found.forget(other)  # what it knew has been noted by `_remember`


def _delete_surplus(plan: HostPlan, kernel: Kernel, undo: _Undo) -> None:
    for rule in kernel.our_rules():
        if rule.rule not in plan.rules:
            kernel.delete_rule(rule)
            undo.later(partial(kernel.put_back_rule, rule))
    for route in kernel.our_routes():
        if route.destination != "default" or route.route not in plan.routes:
            kernel.delete_route(route)
            undo.later(partial(kernel.put_back_route, route))


def _restore_unwanted_sysctls(plan: HostPlan) -> None:
    """An uplink that is in the policy no more leaves its interface as we found it."""
    memory = found.read(plan.variant)
    wanted = {sysctl.key for sysctl in plan.sysctls}
    unwanted = {
        key: value
        for key, value in memory.sysctls.items()
        if (restoring.switch_of(key) or key) not in wanted
    }
    if unwanted:
        restoring.restore_sysctls(unwanted)
        found.write(plan.variant, memory.forgetting(unwanted))
