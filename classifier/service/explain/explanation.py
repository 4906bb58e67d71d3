"""A decision with the way to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from classifier.engine.engine import Engine
from classifier.engine.sticky_by_hand import sticky_show
from classifier.host.state import table_of
from classifier.policy import Balancer, Policy, Rule
from classifier.service.explain.flow import Address, Flow, first_packet
from classifier.service.explain.matching import why_not

_BROADCAST = IPv4Address("255.255.255.255")
_THIS_NETWORK = IPv4Network("0.0.0.0/8")
"""Taken for broadcast by the kernel, too (net/ipv4/fib_frontend.c, __inet_dev_addr_type)."""
_WHY = {
    "pinned": "the rule names this uplink",
    "nth": "weighted round robin; this is what the next flow gets",
    "weighted": "a random draw by weight; another --seed may draw another uplink",
    "hash": "a hash of the sticky key; another --seed may give another uplink",
    "custom": "the balancer's own method says so",
    "least-loaded": "the uplink with the most room; nothing is loaded here",
    "overflow": "the first uplink that has room; nothing is loaded here",
    "fastest": "the uplink with the least latency; none is known here, so the weights decide",
    "sticky": "remembered from an earlier flow",
    "fallback": "no uplink of the balancer can take the flow",
    "drop": "the flow is dropped",
    "direct": "left to the main routing table",
    "malformed": "the packet cannot be parsed and is left alone",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One rule on the way."""

    rule: str
    takes: bool
    why: str
    """Why it takes the flow or does not."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Its fields are the keys of the JSON form."""

    flow: str
    rule: str | None
    balancer: str | None
    """The balancer that the rule uses, also if its fallback decided."""
    method: str | None
    """Of the balancer."""
    sticky: float | None
    """Seconds that an entry goes on to be remembered; None: there is none."""
    uplink: str | None
    reason: str
    mark: int
    table: int | None
    """The routing table of that mark; None: main's."""
    why: str
    way: tuple[Step, ...]
    """The rules that were tried, up to the one that takes the flow."""
    notes: tuple[str, ...]
    route: str | None = None
    """The kernel's own answer for flow and mark; None where it was not asked."""


def explained(policy: Policy, engine: Engine, flow: Flow, now: int = 0) -> Explanation:
    """What `engine` decides at `now`, its milliseconds, and how it comes to that.

    It counts and remembers that flow as any other: give it an engine of `policy` that nobody else
    uses.
    """
    return _not_classified(policy, flow) or _classified(policy, engine, flow, now)


def _not_classified(policy: Policy, flow: Flow) -> Explanation | None:
    """The explanation of a flow that never reaches the classifier; None for any other."""
    mark, table = 0, None
    kind = _kind_left_alone(flow.destination)
    if flow.in_interface is None and policy.gateway.local and kind is None:
        return None
    if flow.in_interface is None and not policy.gateway.local:
        why = "locally originated flows are not classified, because gateway.local is false"
    elif uplink := next((u for u in policy.uplinks if u.interface == flow.in_interface), None):
        mark, table = policy.mark(uplink), table_of(uplink)
        why = (
            f'a flow that comes in on uplink "{uplink.name}" is not classified; the kernel gives it'
            " the mark of that uplink, so that replies leave there"
        )
    elif kind is not None and flow.in_interface in (None, *policy.gateway.lan):
        why = f"flows to {kind} are not classified; the main routing table decides"
    elif flow.in_interface in policy.gateway.lan:
        return None
    else:
        why = (
            f"flows from {flow.in_interface} are not classified, because it is not in gateway.lan;"
            " the main routing table decides"
        )
    return Explanation(
        flow=str(flow), rule=None, balancer=None, method=None, sticky=None, uplink=None,
        reason="direct", mark=mark, table=table, why=why, way=(), notes=_notes(policy, flow),
    )  # fmt: skip


def _kind_left_alone(address: Address) -> str | None:
    """What the kernel's addrtype match of the gateway's rules tells from the address alone; which
    other ones are the host's own, or broadcast of its networks, is not known here."""
    if address.is_multicast:
        return "multicast addresses"
    if address.is_loopback:
        return "loopback addresses"
    if address.version == 4 and (address in _THIS_NETWORK or address == _BROADCAST):
        return "broadcast addresses"
    return None


def _classified(policy: Policy, engine: Engine, flow: Flow, now: int) -> Explanation:
    left = {
        entry.balancer: entry.left
        for entry in sticky_show(engine, flow.destination, now, flow.source)
    }
    way = tuple(_way(policy, engine, flow))
    decision = engine.classify(first_packet(flow), now, flow.in_interface, flow.user)
    rule = next((rule for rule in policy.rules if rule.name == decision.rule), None)
    balancer = _balancer(policy, rule)
    no_rule = decision.reason == "direct" and rule is None
    return Explanation(
        flow=str(flow),
        rule=decision.rule,
        balancer=balancer.name if balancer else None,
        method=balancer.method if balancer else None,
        sticky=left.get(balancer.name) if balancer else None,
        uplink=decision.uplink,
        reason=decision.reason,
        mark=decision.mark,
        table=table_of(policy.uplink(decision.uplink)) if decision.uplink else None,
        why="no rule matches, so the main routing table decides"
        if no_rule
        else _WHY[decision.reason],
        way=way,
        notes=(*_notes(policy, flow), *_failed(engine)),
    )


def _failed(engine: Engine) -> Iterator[str]:
    """What went wrong in a method of a user, so that the weights decided."""
    for name, balancer in engine.counters().balancers.items():
        if balancer.errors:
            error = balancer.last_error
            yield f"the method of balancer {name} failed, so that its weights decide: {error}"


def _balancer(policy: Policy, rule: Rule | None) -> Balancer | None:
    return next((b for b in policy.balancers if rule is not None and b.name == rule.use), None)


def _way(policy: Policy, engine: Engine, flow: Flow) -> Iterator[Step]:
    uplinks = {uplink.name for uplink in policy.uplinks}
    for rule in policy.rules:
        if differs := why_not(rule, flow):
            yield Step(rule.name, False, differs)
            continue
        out_of_use = rule.use in uplinks and not _able(engine, rule.use, flow)
        if out_of_use and not rule.strict:
            yield Step(rule.name, False, f"uplink {rule.use} takes no such flow now")
            continue
        yield Step(rule.name, True, f"everything matches: use {rule.use}")
        return


def _able(engine: Engine, uplink: str, flow: Flow) -> bool:
    return engine.usable_families(uplink)[flow.source.version == 6]


def _notes(policy: Policy, flow: Flow) -> tuple[str, ...]:
    """A hint in case the flow was meant to come from the LAN: a policy knows no LAN addresses."""
    if flow.in_interface is not None or flow.user is not None or not policy.gateway.lan:
        return ()
    lan = " or ".join(f'"in {interface}"' for interface in policy.gateway.lan)
    return (f"taken as a locally originated flow; for a flow from the LAN add {lan}",)


def with_notes(explanation: Explanation, *notes: str) -> Explanation:
    return replace(explanation, notes=(*explanation.notes, *notes))
