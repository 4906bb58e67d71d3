"""A gateway whose time is what the test says: the service's own parts, without kernel and sockets.

Probers are told what their targets answer, links are what a snapshot says, and flows are asked of
the engine. Nothing waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface
from pathlib import Path

from model import Packet
from packets import render

from classifier.engine.classifier import Classifier
from classifier.engine.decision import Decision
from classifier.engine.sticky_file import export_sticky, import_sticky
from classifier.host.iptables.snapshot import FirewallSnapshot
from classifier.host.plan import plan
from classifier.host.snapshot import Connected, Link, Snapshot
from classifier.policy import Family, Policy, Uplink
from classifier.service.connections import Connections
from classifier.service.reconcile import Look
from classifier.service.uplinks import Uplinks
from classifier.state.asked import Asked, store_asked, stored_asked
from classifier.state.health import store_bad, stored_bad
from classifier.uplinks.health import Answer
from classifier.uplinks.placing import Usable, place

SEED = 7
ROUND = 1000
"""Milliseconds."""


@dataclass
class Line:
    """One uplink as it is outside."""

    exists: bool = True
    up: bool = True
    carrier: bool = True
    addresses: frozenset[Family] = frozenset((4, 6))
    answers: dict[Family, bool] = field(default_factory=lambda: {4: True, 6: True})
    """Whether the targets of a family answer."""

    def carries(self, family: Family) -> bool:
        return self.exists and self.up and self.carrier and family in self.addresses


class Followed(Connections):
    """Tells whose connections end, where the kernel would end them."""

    def __init__(self, classifier: Classifier, end: Callable[[Uplink, Family], None]) -> None:
        super().__init__(classifier.engine)
        self._told = end

    def _end(self, policy: Policy, uplink: Uplink, family: Family) -> None:
        self._engine.forget_in_flight(uplink.name)
        self._told(uplink, family)

    def _try_again(self, policy: Policy, back: Uplink | None, family: Family) -> None:
        if back is None:
            self._engine.forget_in_flight(None)


class AcceleratedGateway:
    """What `Service` does with its parts, in its order; `end` is told whose connections end."""

    def __init__(
        self, policy: Policy, state_dir: Path, end: Callable[[Uplink, Family], None]
    ) -> None:
        self.policy = policy
        self.lines = {uplink.name: Line() for uplink in policy.uplinks}
        self.now = 0
        self.looks = 0
        self._state_dir = state_dir
        self._end = end
        self._loop = asyncio.new_event_loop()
        self._start()

    def _start(self) -> None:
        self.classifier = Classifier(self.policy, SEED)
        self._connections = Followed(self.classifier, self._end)
        self.uplinks = Uplinks(self._request)
        self.uplinks.asked = stored_asked(self._state_dir)
        self.uplinks.remembered = dict(stored_bad(self._state_dir))
        self._usable: Usable = {}
        self._requested = True
        look = self._look(self.policy)
        self._place(look)
        self._probe()
        self.settle()

    def restart(self) -> None:
        """Stopped and started, with what the state directory keeps."""
        sticky = export_sticky(self.classifier.engine, self.now)
        store_asked(self._state_dir, self.uplinks.asked)
        store_bad(self._state_dir, self.uplinks.bad)
        self._stop()
        self._start()
        import_sticky(self.classifier.engine, sticky, self.now, 0)

    def close(self) -> None:
        self._stop()
        self._loop.close()

    def _stop(self) -> None:
        self.uplinks.close()
        self._loop.run_until_complete(asyncio.sleep(0))

    def _request(self, reason: str) -> None:
        self._requested = True

    def reload(self, policy: Policy) -> None:
        look = self._look(policy)
        usable, before = self.uplinks.usable(look), self._usable
        held_back = {name: now & before.get(name, frozenset()) for name, now in usable.items()}
        self.policy = policy
        self._use(held_back)
        self._place(look)
        self._probe()
        self._requested = True  # the next look, within five seconds
        self.settle()

    def steer(self, name: str, asked: Asked) -> None:
        self.uplinks.asked[name] = asked
        self._requested = True
        self.settle()

    def change_link(self, name: str, **changed: bool | frozenset[Family]) -> None:
        self.lines[name] = replace(self.lines[name], **changed)  # type: ignore[arg-type]
        self._requested = True
        self.settle()

    def round(self, lost: Callable[[], bool] = lambda: False) -> None:
        """One round of all probes; `lost` says of each answer whether it was lost on the way."""
        for name, prober in self.uplinks.probers.items():
            health, line = self.policy.uplink(name).health, self.lines[name]
            assert health is not None
            prober.judge(
                {
                    target: Answer(0.01)
                    if line.carries(target.family) and line.answers[target.family] and not lost()
                    else Answer(None, "no answer")
                    for target in health.targets
                },
                self.now / 1000,
            )
        self.now += ROUND
        self.settle()

    def settle(self) -> None:
        """Look at the host, where something has asked for it."""
        if self._requested:
            self._requested = False
            self.looks += 1
            self._place(self._look(self.policy))
            self._connections.follow(self.policy, self.uplinks.by_family)

    def decide(self, packet: Packet) -> Decision:
        return self.classifier.classify(render(packet), self.now / 1000)

    def _place(self, look: Look) -> None:
        usable = self.uplinks.usable(look)
        self._use({name: now & self._usable.get(name, now) for name, now in usable.items()})
        self._use(self.uplinks.usable(look))

    def _use(self, usable: Usable) -> None:
        place(self.classifier.engine, self.policy, usable)
        self._usable = usable

    def _probe(self) -> None:
        async def probe() -> None:
            self.uplinks.probe(self.policy)

        self._loop.run_until_complete(probe())

    def _look(self, policy: Policy) -> Look:
        links = [Link("lan0", 1, addresses=("10.0.0.254/24",))]
        for uplink in policy.uplinks:
            line = self.lines[uplink.name]
            addresses = {4: f"192.0.{uplink.id}.2/24", 6: f"2001:db8:{uplink.id}::2/64"}
            if line.exists:
                links.append(
                    Link(
                        uplink.interface,
                        uplink.id + 1,
                        up=line.up,
                        carrier=line.carrier,
                        addresses=tuple(addresses[family] for family in sorted(line.addresses)),
                    )
                )
        connected = tuple(
            Connected(str(ip_interface(address).network), link.name)
            for link in links
            for address in link.addresses
        )
        snapshot = Snapshot(FirewallSnapshot("nft"), tuple(links), connected=connected)
        return Look(policy, snapshot, plan(policy, snapshot))
