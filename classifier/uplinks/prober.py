"""Rounds of probes of one uplink, at a constant rate, and what its health is by them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping

from classifier.policy import Family, Health, Target
from classifier.uplinks.health import Answer, HealthMachine, Verdict
from classifier.uplinks.probes import ask, probe_of
from classifier.uplinks.probes.binding import Binding

log = logging.getLogger(__name__)

_LATE = 0.5
"""Seconds after its timeout by which a round has to be over. If not, this process was held up or
the machine asleep: the round says nothing about the line."""


class Prober:
    """Asks the targets of one uplink until its task is cancelled.

    >>> prober = Prober("wired", uplink.health, Binding("eth0", 0x100), changed)
    >>> task = asyncio.create_task(prober.run())

    `changed(family, verdict)` is called on the loop when a family's verdict turns good or bad, or
    the uplink begins or ends flapping. A family without targets of its own follows the other.
    """

    def __init__(
        self,
        name: str,
        health: Health,
        binding: Binding,
        changed: Callable[[Family, Verdict], None],
        good: Mapping[Family, bool] | None = None,
    ) -> None:
        """`good`: the health that is known from before, by family; good where it is not known."""
        self._name = name
        self._health = health
        self._binding = binding
        self._changed = changed
        self._probe = probe_of(health.probe)
        self._targets: dict[Family, list[Target]] = {}
        for target in health.targets:
            self._targets.setdefault(target.family, []).append(target)
        self._machines = {
            family: HealthMachine(health, len(targets), good=(good or {}).get(family, True))
            for family, targets in self._targets.items()
        }
        self._failures: dict[Target, str] = {}
        self.answers: dict[str, Answer] = {}
        """The last answer of each target, by its name in the file."""

    def verdict(self, family: Family) -> Verdict:
        """The health of a family as it is now."""
        machine = self._machines.get(family) or next(iter(self._machines.values()))
        return machine.verdict

    async def run(self) -> None:
        """Rounds at `interval`, the first within one, so that uplinks do not all ask at once.

        A round that takes longer is followed by the next at once, those missed are left out.
        """
        loop, interval = asyncio.get_running_loop(), self._health.interval
        due = loop.time() + random.uniform(0, interval)
        while True:
            await asyncio.sleep(due - loop.time())
            try:
                await self._round()
            except Exception:
                # A defect of ours is no evidence against the line, and must not end the probing.
                log.exception("uplink %s: a round of probes failed", self._name)
            due += interval
            due += max(0.0, loop.time() - due) // interval * interval

    async def _round(self) -> None:
        loop, health = asyncio.get_running_loop(), self._health
        began, now = loop.time(), time.time()
        answers = await asyncio.gather(
            *(ask(self._probe, target, self._binding, health.timeout) for target in health.targets)
        )
        if loop.time() - began > health.timeout + _LATE:
            log.debug("uplink %s: a round of probes was held up; not counted", self._name)
            return
        self.judge(dict(zip(health.targets, answers, strict=True)), now)

    def judge(self, found: Mapping[Target, Answer], now: float) -> None:
        """Take in what a round found that began at `now`, in seconds since 1970."""
        for target, answer in found.items():
            self.answers[target.text] = answer
            self._log_failure(target, answer)
        for family, targets in self._targets.items():
            self._judge(family, [found[target] for target in targets], now)

    def _judge(self, family: Family, answers: list[Answer], now: float) -> None:
        machine = self._machines[family]
        before, verdict = machine.verdict, machine.round(answers, now)
        if (before.good, before.flapping) == (verdict.good, verdict.flapping):
            return
        if verdict.flapping and not before.flapping:
            log.warning("uplink %s: flapping over IPv%d, damped", self._name, family)
        self._changed(family, verdict)
        if len(self._machines) == 1:
            self._changed(6 if family == 4 else 4, verdict)

    def _log_failure(self, target: Target, answer: Answer) -> None:
        if answer.failure and answer.failure != self._failures.get(target):
            log.info("uplink %s: %s: %s", self._name, target.text, answer.failure)
        self._failures[target] = answer.failure
