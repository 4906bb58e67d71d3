"""The uplinks of a running service: probed, judged by what the host shows, steered by hand."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier.policy import FAMILIES, Family, Health, Policy, Uplink
from classifier.service.reconcile import Look
from classifier.state.asked import Asked
from classifier.state.health import Bad
from classifier.uplinks.health import Verdict
from classifier.uplinks.placing import Usable
from classifier.uplinks.prober import Prober
from classifier.uplinks.probes.binding import Binding
from classifier.uplinks.state import Link, State, UplinkState, together

log = logging.getLogger(__name__)

_SENT = 9
"""The column of sent bytes in /proc/net/dev, counted from 1."""
_WAS_BAD = Verdict(False, "was down before the start")
States = Mapping[str, State]
"""Uplink to what it is."""


@dataclass(slots=True)
class _Probing:
    health: Health
    binding: Binding
    prober: Prober
    task: asyncio.Task[None]


@dataclass(slots=True)
class Shown:
    """What an uplink is, as it was told last."""

    state: State
    reason: str
    since: float
    """Monotonic seconds."""
    families: Mapping[Family, State]


class Uplinks:
    """States of all uplinks; `changed` is called on the loop when a probe changes one."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._probing: dict[str, _Probing] = {}
        self._shown: dict[str, Shown] = {}
        self.asked: dict[str, Asked] = {}
        self.remembered: dict[str, frozenset[Family]] = {}
        """What was bad at the last stop or crash; it stays so until the probes say otherwise."""

    def probe(self, policy: Policy) -> None:
        """Probe the uplinks of `policy` that want it, and no others; those as before go on.

        From here on no others are known, either.
        """
        for name in self._shown.keys() - {uplink.name for uplink in policy.uplinks}:
            del self._shown[name]
        wanted = {
            uplink.name: (uplink.health, Binding(uplink.interface, policy.mark(uplink)))
            for uplink in policy.uplinks
            if uplink.health
        }
        for name, probing in list(self._probing.items()):
            if wanted.get(name) != (probing.health, probing.binding):
                self._probing.pop(name).task.cancel()
                if name in wanted and wanted[name][1] == probing.binding:
                    # The same line, judged by other limits.
                    self.remembered[name] = _bad_families(probing.prober)
                self._changed("health")
        for name, (health, binding) in wanted.items():
            if name not in self._probing:
                good = dict.fromkeys(self.remembered.pop(name, ()), False)
                prober = Prober(name, health, binding, self._judged, good)
                task = asyncio.get_running_loop().create_task(prober.run(), name=f"probe-{name}")
                self._probing[name] = _Probing(health, binding, prober, task)

    @property
    def probers(self) -> Mapping[str, Prober]:
        """By the uplink's name."""
        return {name: probing.prober for name, probing in self._probing.items()}

    def close(self) -> None:
        for probing in self._probing.values():
            probing.task.cancel()

    def _judged(self, family: Family, verdict: Verdict) -> None:
        self._changed("health")

    def usable(self, look: Look) -> Usable:
        """Which families of each uplink take new flows; a change of state is logged."""
        found: dict[str, frozenset[Family]] = {}
        for uplink in look.policy.uplinks:
            states = self._states(uplink, look)
            found[uplink.name] = frozenset(one.family for one in states if one.takes_new_flows)
            self._show(uplink.name, states)
        return found

    def _states(self, uplink: Uplink, look: Look) -> list[UplinkState]:
        return [
            UplinkState(
                uplink.name,
                family,
                _link(uplink, look, family),
                self._verdict(uplink.name, family),
                self.asked.get(uplink.name, "auto"),
            )
            for family in uplink.families
        ]

    def _verdict(self, name: str, family: Family) -> Verdict | None:
        probing = self._probing.get(name)
        if probing:
            return probing.prober.verdict(family)
        return _WAS_BAD if family in self.remembered.get(name, ()) else None

    def _show(self, name: str, judged: Sequence[UplinkState]) -> None:
        state, reason = together(judged)
        families = {one.family: one.state for one in judged}
        before = self._shown.get(name)
        if before is None or before.state != state:
            self._shown[name] = Shown(state, reason, time.monotonic(), families)
            if before is not None:
                log.warning("uplink %s is %s: %s", name, state, reason)
        else:
            before.reason, before.families = reason, families

    @property
    def shown(self) -> Mapping[str, Shown]:
        return self._shown

    @property
    def bad(self) -> Bad:
        """What the probes say is bad, for the next start."""
        found: dict[str, frozenset[Family]] = {}
        for name, probing in self._probing.items():
            if bad := _bad_families(probing.prober):
                found[name] = bad
        return found

    @property
    def states(self) -> States:
        """As they were told last."""
        return {name: shown.state for name, shown in self._shown.items()}

    def latency(self, uplink: Uplink) -> float | None:
        """Seconds, as its probes measured them."""
        verdict = self._verdict(uplink.name, 4)
        return verdict.latency if verdict else None

    @property
    def by_family(self) -> Mapping[tuple[str, Family], State]:
        """Uplink and family to what it is, as they were judged last."""
        return {
            (name, family): state
            for name, shown in self._shown.items()
            for family, state in shown.families.items()
        }

    def figures(self, uplink: Uplink) -> dict[str, Any]:
        """What `status` tells of an uplink's life; see docs/commands.md."""
        shown = self._shown[uplink.name]
        verdict = self._verdict(uplink.name, 4)
        return {
            "state": shown.state,
            "reason": shown.reason,
            "since": time.monotonic() - shown.since,
            "latency": verdict.latency if verdict else None,
            "loss": verdict.loss if verdict else None,
        }


def _bad_families(prober: Prober) -> frozenset[Family]:
    return frozenset(family for family in FAMILIES if not prober.verdict(family).good)


def _link(uplink: Uplink, look: Look, family: Family) -> Link:
    link = look.snapshot.link(uplink.interface)
    if link is None:
        return Link(uplink.interface, exists=False)
    return Link(
        uplink.interface,
        up=link.up,
        carrier=link.carrier,
        address=not uplink.masquerade or bool(link.interfaces(family)),
        route=family in look.usable[uplink.name],
    )


def link_bytes() -> dict[str, tuple[int, int]]:
    """Interface to bytes received and sent since it was made."""
    try:
        # Of the thread's network namespace; /sys is of the one in which it was mounted.
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    except OSError:
        return {}
    found: dict[str, tuple[int, int]] = {}
    for line in lines:
        name, _, counters = line.partition(":")
        if len(fields := counters.split()) >= _SENT:
            found[name.strip()] = int(fields[0]), int(fields[_SENT - 1])
    return found
