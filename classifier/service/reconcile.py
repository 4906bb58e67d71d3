"""Making the host match what is wanted now: at the start, at every event, and when looked at.

Always from the whole state of the host, never from what woke us. Looking and applying block, on
programs among others, so the service does both in a thread of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from classifier.errors import ConflictError, HostError
from classifier.host import reading, steps
from classifier.host.conflicts import conflicts
from classifier.host.diff import diff, remembered, removal
from classifier.host.memory import Memory
from classifier.host.plan import Plan, plan
from classifier.host.snapshot import Snapshot
from classifier.host.state import table_of
from classifier.policy import FAMILIES, Family, Policy
from classifier.service.heal_limit import Action, HealLimit
from classifier.service.lock import served_already

log = logging.getLogger(__name__)

_KEEPS_CHANGING = "another program keeps changing our {}: put right less often"


@dataclass(frozen=True, slots=True)
class Look:
    """The host as it was found at one moment, and what a policy needs there."""

    policy: Policy
    snapshot: Snapshot
    plan: Plan

    @property
    def usable(self) -> Mapping[str, frozenset[Family]]:
        """Uplink to the families whose flows it can take."""
        routed = {(route.table, route.family) for route in self.plan.routes}
        return {
            uplink.name: frozenset(f for f in FAMILIES if (table_of(uplink), f) in routed)
            for uplink in self.policy.uplinks
        }

    @property
    def unrouted(self) -> Mapping[str, frozenset[Family]]:
        """Uplink to the families whose route was not there yet, or another one."""
        needed = diff(self.snapshot, self.plan)
        missing = {(s.route.table, s.route.family) for s in needed if isinstance(s, steps.AddRoute)}
        return {
            uplink.name: frozenset(f for f in FAMILIES if (table_of(uplink), f) in missing)
            for uplink in self.policy.uplinks
        }

    @property
    def interfaces(self) -> dict[int, str]:
        """Interface index to name."""
        return {link.index: link.name for link in self.snapshot.links}

    def check_alone(self) -> None:
        """Raises ConflictError when a gateway is served here already."""
        for queue in self.snapshot.queues:
            # Whatever it told others: it answers the queue that rules of ours send to.
            if queue.number in self.snapshot.firewall.queued_to:
                raise served_already(queue.owner)

    def check(self) -> None:
        """Raises HostError or ConflictError with everything that stands in the policy's way."""
        if self.plan.refusals:
            raise HostError("\n".join(self.plan.refusals))
        if found := conflicts(self.policy, self.snapshot, self.plan):
            raise ConflictError("\n".join(found))


class Reconciler:
    """Of one network namespace, that of the thread that uses it; not for two threads at once."""

    def __init__(self) -> None:
        self._last: Look | None = None
        self._known = Memory()
        self._limit = HealLimit()
        self.healed = 0
        """How often what other programs had changed was put right."""
        self.warnings: tuple[str, ...] = ()
        """What is put right less often, because another program keeps changing it."""

    def look(self, policy: Policy, whole: bool = False) -> Look:
        """whole: rules of others too, for `Look.check`. Raises HostError when the host cannot be
        read."""
        previous = None if whole or self._last is None else self._last.snapshot
        self._publish()
        snapshot = replace(reading.read(previous=previous), known=self._known)
        return Look(policy, snapshot, plan(policy, snapshot))

    def apply(self, look: Look, links_changed: bool = False) -> None:
        """Change what differs: all of it or nothing at the start and for another policy.

        Else the host has changed, and each kind of change is made by itself, so that one that the
        kernel refuses keeps no other from it. Where nothing new is wanted, other programs have
        changed it, and that is put right; except what the kernel itself has removed with a link or
        an address that is back already. Raises HostError with all that could not be changed.

        links_changed: links or addresses have changed since the last look.
        """
        needed = diff(look.snapshot, look.plan)
        if self._last is None or look.policy != self._last.policy:
            steps.run(needed)
        else:
            # Tried once: a module that modprobe refuses would be tried at every look.
            needed = tuple(step for step in needed if not isinstance(step, steps.LoadModules))
            by_kernel = tuple(step for step in needed if links_changed and _goes_with_a_link(step))
            if look.plan == self._last.plan:
                try:
                    _run_apart(by_kernel)
                finally:
                    self._heal(step for step in needed if step not in by_kernel)
            else:
                _run_apart(needed)
        self._last = look
        self._known = remembered(look.snapshot, look.plan)

    def remove(self, answer: Callable[[], None]) -> None:
        """Take everything of ours away; `answer` answers what waits in the queues.

        Raises HostError with everything that could not be removed, after removing all the rest.
        """
        snapshot = replace(reading.read(ours_only=True), known=self._known)
        steps.run_all(removal(snapshot, answer))

    def _heal(self, needed: Iterable[steps.Step]) -> None:
        by_subject: dict[str, list[steps.Step]] = {}
        for step in needed:
            by_subject.setdefault(step.subject, []).append(step)
        put_right = 0
        told: list[str] = []
        failed: list[str] = []
        for subject, disturbed in by_subject.items():
            action = self._limit.note(subject, time.monotonic())
            if action is Action.GIVE_IN:
                log.warning("%s", _KEEPS_CHANGING.format(subject))
            if action not in (Action.HEAL, Action.RETRY):
                continue
            try:
                _run_apart(disturbed)
            except HostError as error:
                failed.append(str(error))
                if action is Action.HEAL:
                    self._limit.failed(subject)
            else:
                put_right += 1
                if action is Action.HEAL:
                    told.append(subject)
        self.healed += put_right > 0
        self._publish()
        if told:
            log.warning("changed by another program and put right: %s", ", ".join(told))
        if failed:
            raise HostError("\n".join(failed))

    def _publish(self) -> None:
        # One value that is replaced as a whole: `status` reads it in another thread.
        given_in = self._limit.given_in(time.monotonic())
        self.warnings = tuple(map(_KEEPS_CHANGING.format, given_in))


def _goes_with_a_link(step: steps.Step) -> bool:
    """Whether the kernel undoes it when an interface goes down or is made anew; the memory knows
    interfaces by their index."""
    if isinstance(step, steps.WriteSysctl):
        return "/conf/" in step.key and "/conf/all/" not in step.key
    return isinstance(step, steps.AddRoute | steps.WriteMemory)


def _run_apart(needed: Iterable[steps.Step]) -> None:
    """The steps of each subject by themselves, in their order; routes one by one."""
    failed: list[str] = []
    for _, group in groupby(enumerate(needed), key=_apart):
        try:
            steps.run(step for _, step in group)
        except HostError as error:
            failed.append(str(error))
    if failed:
        raise HostError("\n".join(failed))


def _apart(numbered: tuple[int, steps.Step]) -> object:
    number, step = numbered
    return number if isinstance(step, steps.AddRoute) else step.subject
