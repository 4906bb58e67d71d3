"""Why a rule does not take a flow, in words. The engine decides; this only tells people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from classifier.config.names import dscp_name, protocol_name
from classifier.policy import Network, PortRange, Rule
from classifier.service.explain.flow import Address, Flow

_MOST_VALUES = 4
"""Of a rule that are written out."""


def why_not(rule: Rule, flow: Flow) -> str | None:
    """The first of the rule's matches that does not hold; None where all do."""
    return next(_differences(rule, flow), None)


def _differences(rule: Rule, flow: Flow) -> Iterator[str]:
    family = f"ipv{flow.source.version}"
    if rule.family not in (None, family):
        yield f"family is {family}, not {rule.family}"
    if rule.protocols and flow.protocol not in rule.protocols:
        names = [protocol_name(number) for number in rule.protocols]
        yield f"protocol is {protocol_name(flow.protocol)}, not {_listed(names)}"
    yield from _outside("from", flow.source, rule.from_)
    yield from _outside("to", flow.destination, rule.to)
    yield from _beyond("from_ports", flow.sport, rule.from_ports)
    yield from _beyond("to_ports", flow.dport, rule.to_ports)
    if rule.in_interfaces and flow.in_interface not in rule.in_interfaces:
        came = f"in_interface is {flow.in_interface}" if flow.in_interface else "it is local"
        yield f"{came}, not {_listed(rule.in_interfaces)}"
    if rule.users and flow.user not in rule.users:
        user = "not known" if flow.user is None else flow.user
        yield f"user is {user}, not {_listed(rule.users)}"
    if rule.dscp and flow.dscp not in rule.dscp:
        names = [dscp_name(number) for number in rule.dscp]
        yield f"dscp is {dscp_name(flow.dscp)}, not {_listed(names)}"


def _outside(key: str, address: Address, networks: Sequence[Network]) -> Iterator[str]:
    if networks and not any(address in network for network in networks):
        yield f"{key} {address} is not in {_listed(networks)}"


def _beyond(key: str, port: int | None, ranges: Sequence[PortRange]) -> Iterator[str]:
    if not ranges:
        return
    if port is None:
        yield f"{key}: its protocol has no ports"
    elif not any(first <= port <= last for first, last in ranges):
        names = [str(f) if f == last else f"{f}-{last}" for f, last in ranges]
        yield f"{key} {port} is not in {_listed(names)}"


def _listed(values: Sequence[object]) -> str:
    shown = ", ".join(str(value) for value in values[:_MOST_VALUES])
    more = len(values) - _MOST_VALUES
    return f"{shown} and {more} more" if more > 0 else shown
