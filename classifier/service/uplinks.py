"""The uplinks of a running service: probed, judged by what the host shows, steered by hand."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier.host.state import Family
from classifier.policy import Policy, Uplink
from classifier.service.reconcile import Look
from classifier.state.asked import Asked
from classifier.uplinks.health import Verdict
from classifier.uplinks.prober import Prober
from classifier.uplinks.probes.binding import Binding
from classifier.uplinks.state import Link, State, UplinkState, together

log = logging.getLogger(__name__)

_SENT = 9
"""The column of sent bytes in /proc/net/dev, counted from 1."""
_FAMILIES: tuple[Family, ...] = (4, 6)
Usable = Mapping[str, frozenset[Family]]
"""Uplink to the families whose new flows it takes."""

States = Mapping[str, State]
"""Uplink to what it is."""


@dataclass(slots=True)
class _Probing:
    uplink: Uplink
    prober: Prober
    task: asyncio.Task[None]


@dataclass(slots=True)
class _Shown:
    """What an uplink is, as it was told last."""

    state: State
    reason: str
    since: float
    """Monotonic seconds."""


class Uplinks:
    """States of all uplinks; `changed` is called on the loop when a probe changes one."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._probing: dict[str, _Probing] = {}
        self._shown: dict[str, _Shown] = {}
        self.by_family: Mapping[tuple[str, Family], State] = {}
        """Uplink and family to what it is, as they were judged last."""
        self.asked: dict[str, Asked] = {}

    def probe(self, policy: Policy) -> None:
        """Probe the uplinks of `policy` that want it, and no others; those as before go on."""
        wanted = {uplink.name: uplink for uplink in policy.uplinks if uplink.health}
        for name in list(self._probing):
            if wanted.get(name) != self._probing[name].uplink:
                self._probing.pop(name).task.cancel()
        for name, uplink in wanted.items():
            if name not in self._probing and uplink.health:
                binding = Binding(uplink.interface, policy.mark(uplink))
                prober = Prober(name, uplink.health, binding, self._judged)
                task = asyncio.get_running_loop().create_task(prober.run(), name=f"probe-{name}")
                self._probing[name] = _Probing(uplink, prober, task)

    def close(self) -> None:
        for probing in self._probing.values():
            probing.task.cancel()

    def _judged(self, family: Family, verdict: Verdict) -> None:
        self._changed("health")

    def usable(self, look: Look) -> Usable:
        """Which families of each uplink take new flows; a change of state is logged."""
        found: dict[str, frozenset[Family]] = {}
        by_family: dict[tuple[str, Family], State] = {}
        for uplink in look.policy.uplinks:
            states = self._states(uplink, look)
            found[uplink.name] = frozenset(one.family for one in states if one.takes_new_flows)
            by_family |= {(one.name, one.family): one.state for one in states}
            self._show(uplink.name, *together(states))
        self.by_family = by_family
        for name in self._shown.keys() - found.keys():
            del self._shown[name]
        return found

    def _states(self, uplink: Uplink, look: Look) -> list[UplinkState]:
        families = [f for f in _FAMILIES if f == 4 or uplink.gateway6 is not None]
        return [
            UplinkState(
                uplink.name,
                family,
                _link(uplink, look, family),
                self._verdict(uplink.name, family),
                self.asked.get(uplink.name, "auto"),
            )
            for family in families
        ]

    def _verdict(self, name: str, family: Family) -> Verdict | None:
        probing = self._probing.get(name)
        return probing.prober.verdict(family) if probing else None

    def _show(self, name: str, state: State, reason: str) -> None:
        before = self._shown.get(name)
        if before is None or before.state != state:
            self._shown[name] = _Shown(state, reason, time.monotonic())
            if before is not None:
                log.warning("uplink %s is %s: %s", name, state, reason)
        else:
            before.reason = reason

    @property
    def states(self) -> States:
        """As they were told last."""
        return {name: shown.state for name, shown in self._shown.items()}

    def figures(self, uplink: Uplink) -> dict[str, Any]:
        """What `status` tells of an uplink's life; see docs/commands.md."""
        shown = self._shown[uplink.name]
        verdict = self._verdict(uplink.name, 4)
        received, sent = _bytes(uplink.interface)
        return {
            "state": shown.state,
            "reason": shown.reason,
            "since": time.monotonic() - shown.since,
            "latency": verdict.latency if verdict else None,
            "loss": verdict.loss if verdict else None,
            "bytes_in": received,
            "bytes_out": sent,
        }


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


def _bytes(interface: str) -> tuple[int | None, int | None]:
    """Bytes received and sent by an interface since it was made; None without it."""
    try:
        # Of the thread's network namespace; /sys is of the one in which it was mounted.
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    except OSError:
        return None, None
    for line in lines:
        name, _, counters = line.partition(":")
        if name.strip() == interface and len(fields := counters.split()) >= _SENT:
            return int(fields[0]), int(fields[_SENT - 1])
    return None, None
