"""Rules seen from one field of a packet: intervals of its values, and the rules possible in each.

This is Lakshman & Stiliadis's bit vector scheme ("High-speed policy-based packet forwarding using
efficient multi-dimensional range matching", 1998): each field is searched once whatever the number
of rules, and the first bit in the intersection of what the fields allow is the first rule that
matches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from classifier.policy import Network, Policy, Rule

Range = tuple[int, int]
"""First and last value, both included."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """The values of a field, cut wherever a rule begins or ceases to match."""

    starts: tuple[int, ...]
    """First value of each interval; ascending, the first one is 0."""
    rules: tuple[int, ...]
    """For each interval the rules that match there, rule i as bit i."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Every field that rules look at; None where no rule does."""

    families: tuple[int, int]
    """Rules possible at all for IPv4 and for IPv6."""
    from4: Intervals | None
    to4: Intervals | None
    from6: Intervals | None
    to6: Intervals | None
    from_ports: Intervals | None
    to_ports: Intervals | None
    protocols: Intervals | None
    dscp: Intervals | None
    interfaces: Intervals | None
    users: Intervals | None


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same values as ascending ranges that neither overlap nor touch."""
    result: list[Range] = []
    for low, high in sorted(ranges):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return result


def intervals(conditions: Sequence[Sequence[Range] | None]) -> Intervals | None:
    """Cuts a field by what each rule wants of it; None is a rule that takes any value.

    A value beyond all ranges, such as that of a packet without the field, is in the last interval,
    with the rules that take any value.
    """
    if all(condition is None for condition in conditions):
        return None
    possible = 0
    changes = {0: 0}
    for index, condition in enumerate(conditions):
        bit = 1 << index
        if condition is None:
            possible |= bit
            continue
        for low, high in merged(condition):
            changes[low] = changes.get(low, 0) ^ bit
            changes[high + 1] = changes.get(high + 1, 0) ^ bit
    starts = sorted(changes)
    rules = []
    same: dict[int, int] = {}  # with many rules a row is large, and most of them recur
    for start in starts:
        possible ^= changes[start]
        rules.append(same.setdefault(possible, possible))
    return Intervals(tuple(starts), tuple(rules))


def compile_rules(policy: Policy, interface_numbers: dict[str, int]) -> Fields:
    rules = policy.rules

    def field(wanted: Callable[[Rule], Iterable[Range]]) -> Intervals | None:
        return intervals([list(wanted(rule)) or None for rule in rules])

    def networks(wanted: Callable[[Rule], tuple[Network, ...]], version: int) -> Intervals | None:
        return intervals(
            [_addresses(wanted(rule), version) if wanted(rule) else None for rule in rules]
        )

    def family(name: str) -> int:
        return sum(1 << i for i, rule in enumerate(rules) if rule.family in (None, name))

    return Fields(
        families=(family("ipv4"), family("ipv6")),
        from4=networks(lambda rule: rule.from_, 4),
        to4=networks(lambda rule: rule.to, 4),
        from6=networks(lambda rule: rule.from_, 6),
        to6=networks(lambda rule: rule.to, 6),
        from_ports=field(lambda rule: rule.from_ports),
        to_ports=field(lambda rule: rule.to_ports),
        protocols=field(lambda rule: _single(rule.protocols)),
        dscp=field(lambda rule: _single(rule.dscp)),
        interfaces=field(lambda rule: _single(interface_numbers[n] for n in rule.in_interfaces)),
        users=field(lambda rule: _single(rule.users)),
    )


def _single(values: Iterable[int]) -> Iterable[Range]:
    return ((value, value) for value in values)


def _addresses(networks: Iterable[Network], version: int) -> list[Range]:
    return [
        (int(network.network_address), int(network.broadcast_address))
        for network in networks
        if network.version == version
    ]
