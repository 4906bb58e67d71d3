"""Take everything of ours away from the host, whoever left it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

from classifier.errors import HostError
from classifier.host import basechains, found, restoring, xtables
from classifier.host.kernel import Kernel
from classifier.host.state import IPTABLES, QUEUE_CHAIN, Chain, Family, Firewall, Variant

_FAMILIES: tuple[Family, ...] = get_args(Family)


def remove(drain: Callable[[], None] | None = None) -> tuple[str, ...]:
    """Remove every chain, rule and route of ours and put back the sysctls and builtin tables.

    Needs to know nothing of who brought them: chains have our prefix, rules and routes our
    protocol number, and the rest is in the chain that remembers. `drain` is called after the rule
    that queues packets is gone and before anything else goes, so that the caller can answer the
    packets that still wait. Does nothing, and does not call `drain`, where nothing of ours is.

    Returns what was done, as lines of text. Raises HostError with everything that could not be
    removed, after removing all the rest.
    """
    return _Removal().run(drain)


class _Removal:
    def __init__(self) -> None:
        self.done: list[str] = []
        self.failed: list[str] = []

    def run(self, drain: Callable[[], None] | None) -> tuple[str, ...]:
        sides = [(v, f) for v in get_args(Variant) for f in _FAMILIES if _has_ours(v, f)]
        with Kernel() as kernel:
            if not sides and not kernel.our_rules() and not kernel.our_routes():
                return ()
            for variant, family in sides:
                self._try(partial(_stop_queueing, variant, family))
            if drain is not None:
                drain()
            for variant, family in sides:
                self._try(partial(self._remove_chains, variant, family))
            self._remove_routing(kernel)
        for variant in dict.fromkeys(variant for variant, _ in sides):
            self._try(partial(self._restore_found, variant))
        if self.failed:
            raise HostError("not all could be removed:\n" + "\n".join(self.failed))
        return tuple(self.done)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except HostError as error:
            self.failed.append(str(error))

    def _remove_chains(self, variant: Variant, family: Family) -> None:
        there = xtables.save(variant, family)
        xtables.restore(variant, family, xtables.change(there, Firewall(family)))
        name = IPTABLES[family]
        self.done += [
            f"{name}-{variant} -t {chain.table} chain {chain.name}" for chain in there.ours.chains
        ]

    def _remove_routing(self, kernel: Kernel) -> None:
        for rule in kernel.our_rules():
            self._try(partial(kernel.delete_rule, rule))
            self.done.append(f"ip -{rule.rule.family} rule {rule}")
        for route in kernel.our_routes():
            self._try(partial(kernel.delete_route, route))
            self.done.append(f"ip -{route.route.family} route {route}")

    def _restore_found(self, variant: Variant) -> None:
        memory = found.read(variant)
        if not memory.exists:
            return
        # The memory goes last: interrupted here, the next call knows as much as this one.
        self.done += [f"sysctl {line}" for line in restoring.restore_sysctls(memory.sysctls)]
        found.forget(variant)
        gone = basechains.delete(memory.created)
        self.done += [f"nft {'chain' if c.name else 'table'} {c}" for c in gone]


def _has_ours(variant: Variant, family: Family) -> bool:
    if not xtables.is_used(variant, family):
        return False
    saved = xtables.save(variant, family)
    return any(xtables.is_ours(name) for chains in saved.tables.values() for name in chains)


def _stop_queueing(variant: Variant, family: Family) -> None:
    there = xtables.save(variant, family)
    if there.chain("mangle", QUEUE_CHAIN) is None:
        return
    # Empty, not deleted: the chain is still jumped to.
    emptied = Chain("mangle", QUEUE_CHAIN, ())
    chains = tuple(emptied if c.name == QUEUE_CHAIN else c for c in there.ours.chains)
    wanted = Firewall(family, chains, there.ours.jumps)
    xtables.restore(variant, family, xtables.change(there, wanted))
