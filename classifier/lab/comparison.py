"""Flows for any policy, each compared with what the engine says offline.

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
from classifier.lab.report import Promise, Sent
from classifier.lab.sample_flows import SampleFlow, SampleFlows
from classifier.lab.traffic import ANSWER_SECONDS
from classifier.policy import BY_WEIGHTS, DIRECT, DROP

_NO_RULE = "(no rule)"
_BURST = 10
_AT_ONCE = 256
_DROP_SECONDS = 0.3
_DROPPED = 256
_SHORTEST_STICKY = 60.0


class Comparison:
    """Sends sample flows through a lab whose service was started with `seed`."""

    def __init__(self, lab: Lab, flows: int, seed: int) -> None:
        self._lab = lab
        self._seed = seed
        self._sender = LAN if lab.addresses.lans else GATEWAY
        self._flows = flows
        self._results: list[tuple[Decision, str | None]] = []
        self.sent: list[Sent] = []
        self.promises: list[Promise] = []

    @property
    def parts(self) -> tuple[tuple[str, Callable[[], None]], ...]:
        return (
            ("flows for every rule and to anywhere", self._compare),
            ("UDP bursts", self._bursts),
        )

    def conclude(self) -> None:
        """Shares per rule, and whether each flow went where the policy says."""
        for rule, use in [(r.name, r.use) for r in self._lab.policy.rules] + [(_NO_RULE, DIRECT)]:
            mine = [(d, way) for d, way in self._results if (d.rule or _NO_RULE) == rule]
            wanted = Counter(_expected(decision) for decision, _ in mine)
            got = Counter(way for _, way in mine if way is not None)
            if mine or rule != _NO_RULE:
                self.sent.append(Sent(f"{rule} -> {use}", len(mine), dict(wanted), dict(got)))
        different = [(d, way) for d, way in self._results if way != _expected(d)]
        found = f"{len(self._results)} flows, {len(different)} otherwise"
        if different:
            decision, way = different[0]
            found += f", such as {decision} that {'went by ' + way if way else 'nothing answered'}"
        held: bool | None = not different
        if (reason := self._not_comparable()) is not None:
            held, found = None, f"cannot be told: {reason}"
        self.promises.insert(
            0, Promise("every flow goes where the engine says offline, flow by flow", held, found)
        )

    def _not_comparable(self) -> str | None:
        """Why live and offline may differ with this policy, though both are right."""
        policy = self._lab.policy
        if policy.queue.count > 1 and any(b.method != "hash" for b in policy.balancers):
            return "several queues take new flows in no fixed order"
        for balancer in policy.balancers:
            if balancer.method not in BY_WEIGHTS:
                return f"balancer {balancer.name} may go by what its uplinks carry at the time"
            if balancer.sticky is not None and balancer.sticky.timeout < _SHORTEST_STICKY:
                return f"sticky entries of {balancer.name} may end while this runs"
        return None

    def _compare(self) -> None:
        samples = SampleFlows(self._lab, self._seed).make(self._flows)
        offline = Classifier(self._lab.policy, self._seed)
        users = os.getuid() if self._sender == GATEWAY else None
        decided = [
            (one, offline.classify(one.packet, 0.0, one.in_interface, users)) for one in samples
        ]
        # Flows to be dropped change nothing for the others, so they wait for the end, when not
        # being answered takes no time from anyone.
        passing = [(one, decision) for one, decision in decided if decision.reason != DROP]
        dropped = [(one, decision) for one, decision in decided if decision.reason == DROP]
        self._send(passing)
        self._send(dropped[:_DROPPED], _DROP_SECONDS)

    def _send(
        self, part: Sequence[tuple[SampleFlow, Decision]], timeout: float = ANSWER_SECONDS
    ) -> None:
        """Send flows in their order, and note where each arrived."""
        flows = [one.flow for one, _ in part]
        at_once = min(_AT_ONCE, self._lab.policy.queue.length)
        taken = self._lab.connect(flows, sender=self._sender, at_once=at_once, timeout=timeout)
        direct = self._direct()
        for one, decision in part:
            flow = one.flow
            way = taken[flow]
            if way is None and decision.reason == DROP:
                way = DROP
            elif way is not None and flow.after_nat in direct:
                way = DIRECT
            self._results.append((decision, way))

    def _direct(self) -> set[tuple[int, int, str, int]]:
        """Flows that the kernel remembers as direct; the main table decides where they leave."""
        mask = self._lab.policy.gateway.mask
        families = ["ipv4", "ipv6"] if self._lab.policy.ipv6 else ["ipv4"]
        return {
            (entry.protocol, entry.sport, entry.dst, entry.dport)
            for family in families
            for entry in self._lab.connections(family)
            if entry.mark & mask == self._lab.policy.gateway.marks.direct
        }

    def _bursts(self) -> None:
        source = "lan" if self._sender == LAN else None
        # A queue that is full lets packets pass unclassified; that is not what is tried here.
        most = max(self._lab.policy.queue.length // (2 * _BURST), 1)
        flows = self._lab.flows(min(max(self._flows // 10, 10), most), "udp", 5004, source=source)
        tap = self._lab.tap
        tap.clear()
        self._lab.send(flows, packets=_BURST, sender=self._sender)
        with contextlib.suppress(LabError):  # a policy may drop them
            tap.wait_for_packets(_BURST * len(flows), seconds=2)
        split, packets = len(tap.split_flows()), tap.packets_of(flows)
        self.promises.append(
            Promise(
                f"a flow leaves by one uplink, also when {_BURST} of its packets are sent at once",
                split == 0 if packets else None,
                f"{packets} packets of {len(flows)} flows, {split} split across uplinks"
                if packets
                else "cannot be told: no packet of these flows left the gateway",
            )
        )


def _expected(decision: Decision) -> str:
    if decision.reason == DROP:
        return DROP
    return decision.uplink or DIRECT
