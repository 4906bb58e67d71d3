"""Generic traffic for any policy: every flow has to go where the engine says, offline.

The same engine decides the same first packets offline, in the same order and with the same seed;
what arrives at the ISPs is held against that.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Sequence

from classifier.engine.classifier import Classifier
from classifier.engine.decision import Decision
from classifier.errors import LabError
from classifier.lab.lab import GATEWAY, LAN, Lab
from classifier.lab.outcome import Promise, Sent
from classifier.lab.specimen import Specimen, Specimens
from classifier.policy import DIRECT, DROP

_NO_RULE = "(no rule)"
_BURST = 10
_AT_ONCE = 256
_DROP_PATIENCE = 0.3
_DROPPED = 256
_SHORTEST_STICKY = 60.0


class Survey:
    """Sends generic traffic through a lab whose service was started with `seed`."""

    def __init__(self, lab: Lab, flows: int, seed: int) -> None:
        self._lab = lab
        self._seed = seed
        self._place = LAN if lab.addresses.lans else GATEWAY
        self._flows = flows
        self._went: list[tuple[Decision, str | None]] = []
        self.sent: list[Sent] = []
        self.promises: list[Promise] = []

    @property
    def parts(self) -> tuple[tuple[str, Callable[[], None]], ...]:
        return (
            ("flows for every rule and to anywhere", self._generic),
            ("UDP bursts", self._bursts),
        )

    def conclude(self) -> None:
        """Shares per rule, and whether each flow went where the policy says."""
        for rule, use in [(r.name, r.use) for r in self._lab.policy.rules] + [(_NO_RULE, DIRECT)]:
            mine = [(d, place) for d, place in self._went if (d.rule or _NO_RULE) == rule]
            wanted = Counter(_place_of(decision) for decision, _ in mine)
            got = Counter(place for _, place in mine if place is not None)
            if mine or rule != _NO_RULE:
                self.sent.append(Sent(f"{rule} -> {use}", len(mine), dict(wanted), dict(got)))
        astray = [(d, place) for d, place in self._went if place != _place_of(d)]
        found = f"{len(self._went)} flows, {len(astray)} otherwise"
        if astray:
            decision, place = astray[0]
            found += (
                f", such as {decision} that {'went by ' + place if place else 'nothing answered'}"
            )
        held: bool | None = not astray
        if (doubt := self._doubt()) is not None:
            held, found = None, f"cannot be told: {doubt}"
        self.promises.insert(
            0, Promise("every flow goes where the engine says offline, flow by flow", held, found)
        )

    def _doubt(self) -> str | None:
        """Why live and offline may differ with this policy, though both are right."""
        policy = self._lab.policy
        if policy.queue.count > 1 and any(b.method != "hash" for b in policy.balancers):
            return "several queues take new flows in no fixed order"
        for balancer in policy.balancers:
            if balancer.sticky is not None and balancer.sticky.timeout < _SHORTEST_STICKY:
                return f"sticky entries of {balancer.name} may end while this runs"
        return None

    def _generic(self) -> None:
        specimens = Specimens(self._lab, self._seed).make(self._flows)
        offline = Classifier(self._lab.policy, self._seed)
        users = os.getuid() if self._place == GATEWAY else None
        decided = [
            (one, offline.classify(one.packet, 0.0, one.in_interface, users)) for one in specimens
        ]
        # Flows to be dropped change nothing for the others, so they wait for the end, when not
        # being answered takes no time from anyone.
        passing = [(one, decision) for one, decision in decided if decision.reason != DROP]
        dropped = [(one, decision) for one, decision in decided if decision.reason == DROP]
        self._send(passing)
        self._send(dropped[:_DROPPED], _DROP_PATIENCE)

    def _send(self, part: Sequence[tuple[Specimen, Decision]], patience: float = 5.0) -> None:
        """Send flows in their order, and note where each arrived."""
        flows = [one.flow for one, _ in part]
        at_once = min(_AT_ONCE, self._lab.policy.queue.length)
        taken = self._lab.connect(flows, place=self._place, at_once=at_once, patience=patience)
        direct = self._direct()
        for one, decision in part:
            flow = one.flow
            place = taken[flow]
            if place is None and decision.reason == DROP:
                place = DROP
            elif place is not None and (flow.protocol, flow.sport, flow.dst, flow.dport) in direct:
                place = DIRECT
            self._went.append((decision, place))

    def _direct(self) -> set[tuple[int, int, str, int]]:
        """Flows that the kernel remembers as direct; the main table decides where they leave."""
        mask = self._lab.policy.gateway.mask
        families = ["ipv4", "ipv6"] if self._lab.policy.ipv6 else ["ipv4"]
        return {
            (tracked.protocol, tracked.sport, tracked.dst, tracked.dport)
            for family in families
            for tracked in self._lab.connections(family)
            if tracked.mark & mask == self._lab.policy.gateway.marks.direct
        }

    def _bursts(self) -> None:
        source = "lan" if self._place == LAN else None
        # A queue that is full lets packets pass unclassified; that is not what is tried here.
        most = max(self._lab.policy.queue.length // (2 * _BURST), 1)
        flows = self._lab.flows(min(max(self._flows // 10, 10), most), "udp", 5004, source=source)
        tap = self._lab.tap
        tap.clear()
        self._lab.send(flows, packets=_BURST, place=self._place)
        with contextlib.suppress(LabError):  # a policy may drop them
            tap.wait_for_packets(_BURST * len(flows), seconds=2)
        torn, packets = len(tap.torn()), tap.packets_of(flows)
        self.promises.append(
            Promise(
                f"a flow leaves by one uplink, also when {_BURST} of its packets are sent at once",
                torn == 0 if packets else None,
                f"{packets} packets of {len(flows)} flows, {torn} torn apart"
                if packets
                else "cannot be told: no packet of these flows left the gateway",
            )
        )


def _place_of(decision: Decision) -> str:
    if decision.reason == DROP:
        return DROP
    return decision.uplink or DIRECT
