"""The steps by which a host is changed: each with its text, its doing and its undoing."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from classifier.errors import HostError
from classifier.host import modules, sysctls
from classifier.host.iptables import basechains, changes, hidden_jumps
from classifier.host.iptables import programs as iptables
from classifier.host.iptables.programs import IPTABLES, Variant
from classifier.host.iptables.ruleset import Jump, OurRules
from classifier.host.iptables.snapshot import ruleset
from classifier.host.memory import BaseChain
from classifier.host.rtnetlink import Rtnetlink
from classifier.host.snapshot import KernelRoute, KernelRule
from classifier.host.solicitation import solicit_router
from classifier.host.state import Route, RoutingRule
from classifier.policy import Family

_log = logging.getLogger(__name__)


class Step(ABC):
    """One change of the host, in the network namespace of the calling thread."""

    subject: str
    """What is changed, in a few words; disturbances of one subject are counted together."""

    @property
    @abstractmethod
    def text(self) -> str:
        """How a person would type it, one or more lines."""

    @abstractmethod
    def do(self, netlink: Rtnetlink) -> None:
        """Raises HostError."""

    @abstractmethod
    def undo(self, netlink: Rtnetlink) -> None:
        """Make it as it was before `do`, also where that failed in the middle."""


@dataclass(frozen=True)
class AddRoute(Step):
    route: Route
    old: KernelRoute | None = None
    """The default route that it replaces."""
    subject = "routes"

    @property
    def text(self) -> str:
        return f"ip -{self.route.family} route {'replace' if self.old else 'add'} {self.route}"

    def do(self, netlink: Rtnetlink) -> None:
        netlink.replace_route(self.route)

    def undo(self, netlink: Rtnetlink) -> None:
        if self.old is None:
            netlink.delete_route(self.route)
        else:
            netlink.put_back_route(self.old)


@dataclass(frozen=True)
class DeleteRoute(Step):
    there: KernelRoute
    subject = "routes"

    @property
    def text(self) -> str:
        return f"ip -{self.there.route.family} route del {self.there}"

    def do(self, netlink: Rtnetlink) -> None:
        netlink.delete_kernel_route(self.there)

    def undo(self, netlink: Rtnetlink) -> None:
        netlink.put_back_route(self.there)


@dataclass(frozen=True)
class AddRule(Step):
    rule: RoutingRule
    subject = "routing rules"

    @property
    def text(self) -> str:
        return f"ip -{self.rule.family} rule add {self.rule}"

    def do(self, netlink: Rtnetlink) -> None:
        netlink.add_rule(self.rule)

    def undo(self, netlink: Rtnetlink) -> None:
        netlink.delete_rule(self.rule)


@dataclass(frozen=True)
class DeleteRule(Step):
    there: KernelRule
    subject = "routing rules"

    @property
    def text(self) -> str:
        return f"ip -{self.there.rule.family} rule del {self.there}"

    def do(self, netlink: Rtnetlink) -> None:
        netlink.delete_kernel_rule(self.there)

    def undo(self, netlink: Rtnetlink) -> None:
        netlink.put_back_rule(self.there)


@dataclass(frozen=True)
class WriteSysctl(Step):
    key: str
    value: str
    before: str
    followers: tuple[tuple[str, str], ...] = ()
    """Other sysctls that the kernel changes together with this one, as they were."""

    subject = "sysctls"

    @property
    def text(self) -> str:
        return f"sysctl -w {self.key}={self.value}"

    def do(self, netlink: Rtnetlink) -> None:
        # Another one that was written before may have changed it as well.
        _write_if_other(self.key, self.value)
        if (interface := sysctls.accepting_routers(self.key, self.value)) is not None:
            solicit_router(interface)

    def undo(self, netlink: Rtnetlink) -> None:
        for key, value in ((self.key, self.before), *self.followers):
            _write_if_other(key, value)


def _write_if_other(key: str, value: str) -> None:
    if sysctls.read(key) not in (None, value):
        sysctls.write(key, value)


@dataclass(frozen=True)
class LoadModules(Step):
    names: tuple[str, ...]
    subject = "kernel modules"

    @property
    def text(self) -> str:
        return "\n".join(f"modprobe {name}" for name in self.names)

    def do(self, netlink: Rtnetlink) -> None:
        """Best effort: the kernel loads some by itself, and of the rest the next plan warns."""
        modules.load(self.names)

    def undo(self, netlink: Rtnetlink) -> None:
        """A module that is not used does no harm."""


@dataclass(frozen=True)
class ChangeRules(Step):
    """One transaction of iptables-restore."""

    variant: Variant
    family: Family
    change: str
    """The input of iptables-restore --noflush."""
    before: OurRules

    subject = "firewall rules"

    @property
    def text(self) -> str:
        return _restore_text(self.variant, self.family, self.change)

    def do(self, netlink: Rtnetlink) -> None:
        iptables.restore(self.variant, self.family, self.change)

    def undo(self, netlink: Rtnetlink) -> None:
        # Tables change one after the other, so what is there now has to be asked.
        there = ruleset(self.variant, self.family)
        if text := changes.change(there, self.before):
            iptables.restore(self.variant, self.family, text)


@dataclass(frozen=True)
class DeleteHiddenJumps(Step):
    """Where a rule of nft that iptables cannot read keeps it from deleting ours."""

    family: Family
    jumps: tuple[Jump, ...]

    subject = "firewall rules"

    @property
    def text(self) -> str:
        return "\n".join(
            f"nft delete rule {self._place(jump)} handle N  # that of: {jump.rule}"
            for jump in self.jumps
        )

    def do(self, netlink: Rtnetlink) -> None:
        for jump in self.jumps:
            hidden_jumps.delete(self._place(jump), {jump.chain})

    def undo(self, netlink: Rtnetlink) -> None:
        # Those that had been deleted; appending needs no reading.
        for jump in self.jumps:
            if jump.chain not in hidden_jumps.targets(self._place(jump)):
                iptables.restore("nft", self.family, changes.appended(jump))

    def _place(self, jump: Jump) -> BaseChain:
        return BaseChain(self.family, jump.table, jump.hook)


@dataclass(frozen=True)
class WriteMemory(Step):
    """Note what the host was like before us, before anything of that is changed.

    A transaction of its own, since the rules come after the sysctls that this is about.
    """

    variant: Variant
    before: tuple[str, ...] | None
    """The lines of the memory; None: there is none."""
    after: tuple[str, ...] | None
    created: frozenset[BaseChain] = frozenset()
    """Base chains that this notes, and that the next steps bring into being."""
    subject = "firewall rules"

    @property
    def text(self) -> str:
        return _restore_text(self.variant, 4, _memory(self.after))

    def do(self, netlink: Rtnetlink) -> None:
        iptables.restore(self.variant, 4, _memory(self.after))

    def undo(self, netlink: Rtnetlink) -> None:
        iptables.restore(self.variant, 4, _memory(self.before))
        basechains.delete(self.created)


def _memory(lines: tuple[str, ...] | None) -> str:
    return changes.memory_deleted() if lines is None else changes.memory_written(lines)


def _restore_text(variant: Variant, family: Family, change: str) -> str:
    return f"{IPTABLES[family]}-{variant}-restore --noflush <<END\n{change}END"


@dataclass(frozen=True)
class DeleteBaseChains(Step):
    chains: frozenset[BaseChain]
    subject = "base chains"

    @property
    def text(self) -> str:
        ordered = sorted(self.chains, key=lambda chain: (chain.name is None, str(chain)))
        return "\n".join(
            f"nft delete {'chain' if chain.name else 'table'} {chain}  # if it is empty"
            for chain in ordered
        )

    def do(self, netlink: Rtnetlink) -> None:
        basechains.delete(self.chains)

    def undo(self, netlink: Rtnetlink) -> None:
        """Empty ones come back by themselves when they are needed."""


@dataclass(frozen=True)
class AnswerWaiting(Step):
    """Between the end of queueing and everything else: what waits in the queues is answered."""

    answer: Callable[[], None] | None = None
    subject = "queue"
    text = "# packets that wait in the queue are answered"

    def do(self, netlink: Rtnetlink) -> None:
        if self.answer is not None:
            self.answer()

    def undo(self, netlink: Rtnetlink) -> None:
        """Answers cannot be taken back."""


def run(steps: Iterable[Step]) -> None:
    """Do all of the steps or none: where one fails, those before it are undone in reverse.

    Raises HostError, naming the step, the value and what the kernel said.
    """
    begun: list[Step] = []
    with Rtnetlink() as netlink:
        try:
            for step in steps:
                begun.append(step)
                step.do(netlink)
        except BaseException:
            for step in reversed(begun):
                _undo(step, netlink)
            raise


def _undo(step: Step, netlink: Rtnetlink) -> None:
    # One step that cannot be undone must not keep the others from it, nor hide why.
    try:
        step.undo(netlink)
    except (HostError, OSError) as error:
        _log.error("while undoing: %s", error)


def run_all(steps: Iterable[Step], done: Callable[[Step], None] | None = None) -> None:
    """Do as many of the steps as can be done; `done` is told each one.

    Raises HostError with all that failed, at the end.
    """
    failed: list[str] = []
    with Rtnetlink() as netlink:
        for step in steps:
            try:
                # The memory goes last: what failed is known to the next try as well.
                if failed and isinstance(step, WriteMemory | DeleteBaseChains):
                    continue
                step.do(netlink)
            except (HostError, OSError) as error:
                failed.append(str(error))
            else:
                if done is not None:
                    done(step)
    if failed:
        raise HostError("not all could be removed:\n" + "\n".join(failed))
