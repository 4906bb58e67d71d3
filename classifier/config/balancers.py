"""The tables [balancers.NAME]."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from classifier.config import values
from classifier.config.methods import read_method
from classifier.config.reading import Parse, Table, WrongValueError, did_you_mean
from classifier.config.uplinks import LARGEST_TIER, LARGEST_WEIGHT
from classifier.policy import DIRECT, DROP, RESERVED_NAMES, Balancer, Member, Sticky, Uplink

_LARGEST_STICKY_TABLE = 16_777_216

StickyKey = Literal["remote", "local", "local+remote"]

_KEY: Parse[StickyKey] = values.choice("remote", "local", "local+remote")


def read_balancers(root: Table, uplinks: tuple[Uplink, ...]) -> tuple[Balancer, ...]:
    """The balancers in the order of the file."""
    tables = dict(root.named_tables("balancers"))
    by_name = {uplink.name: uplink for uplink in uplinks}
    balancers = []
    for name, table in tables.items():
        _check_name(name, table, by_name)
        members = _read_members(table, by_name, tables)
        method = read_method(table, members, by_name)
        balancers.append(
            Balancer(
                name=name,
                method=method.name,
                options=method.options,
                custom=method.custom,
                members=members,
                sticky=_read_sticky(table),
                fallback=table.one("fallback", values.string, DIRECT),
                least_up=table.one("least_up", values.integer(1, 253), 1),
            )
        )
        _check_fallback(balancers[-1], table, {DIRECT, DROP, *by_name, *tables})
        _check_least_up(balancers[-1], table)
        table.finish()
    _check_cycles(balancers, tables)
    return tuple(balancers)


def _check_name(name: str, table: Table, uplinks: Collection[str]) -> None:
    rule = values.name_rule(name)
    if rule is None and name in uplinks:
        rule = "is already the name of an uplink; uplinks and balancers share one namespace"
    if rule:
        table.report.note(table.path, None, rule)


def _read_members(
    table: Table, uplinks: Mapping[str, Uplink], balancers: Collection[str]
) -> tuple[Member, ...]:
    if "uplinks" not in table:
        table.required("uplinks", values.string, "")
        return ()

    def known(value: object) -> str:
        name = values.string(value)
        if name in uplinks:
            return name
        if name in balancers:
            raise WrongValueError("is a balancer; a balancer spreads flows over uplinks only")
        raise WrongValueError(f"must be the name of an uplink{did_you_mean(name, uplinks)}")

    if not table.raw("uplinks"):
        table.wrong("uplinks", "must name at least one uplink")
        return ()
    if not isinstance(table.raw("uplinks"), Mapping):
        names = table.many("uplinks", known, distinct=True)
        return tuple(Member(name, uplinks[name].weight, uplinks[name].tier) for name in names)
    own = table.table("uplinks")
    members = []
    for name in own:
        try:
            members.append(_read_member(own, uplinks[known(name)]))
        except WrongValueError as error:
            own.wrong(name, str(error))
    return tuple(members)


def _read_member(table: Table, uplink: Uplink) -> Member:
    """From a weight, or a table with weight and tier; what it leaves out is the uplink's own."""
    weight = values.integer(1, LARGEST_WEIGHT)
    if not isinstance(table.raw(uplink.name), Mapping):
        return Member(uplink.name, table.one(uplink.name, weight, 1), uplink.tier)
    own = table.table(uplink.name)
    member = Member(
        uplink=uplink.name,
        weight=own.one("weight", weight, uplink.weight),
        tier=own.one("tier", values.integer(1, LARGEST_TIER), uplink.tier),
    )
    own.finish()
    return member


def _read_sticky(table: Table) -> Sticky | None:
    if "sticky" not in table:
        return None
    if not isinstance(table.raw("sticky"), Mapping):
        return Sticky(by=table.one("sticky", _sticky_word, "remote"))
    defaults = Sticky()
    own = table.table("sticky")
    sticky = Sticky(
        by=own.one("by", _KEY, defaults.by),
        timeout=own.one("timeout", values.duration, defaults.timeout),
        prefix4=own.one("prefix4", values.integer(1, 32), defaults.prefix4),
        prefix6=own.one("prefix6", values.integer(1, 128), defaults.prefix6),
        size=own.one("size", values.integer(1, _LARGEST_STICKY_TABLE), defaults.size),
    )
    own.finish()
    return sticky


def _sticky_word(value: object) -> StickyKey:
    try:
        return _KEY(value)
    except WrongValueError as error:
        raise WrongValueError(f"{error}, or a table such as {{ timeout = 60 }}") from None


def _check_fallback(balancer: Balancer, table: Table, known: Collection[str]) -> None:
    if balancer.fallback == balancer.name and balancer.name not in RESERVED_NAMES:
        table.wrong("fallback", "a balancer must not fall back to itself")
    elif balancer.fallback not in known:
        hint = did_you_mean(balancer.fallback, known)
        table.wrong("fallback", f"must be direct, drop, or name an uplink or balancer{hint}")


def _check_least_up(balancer: Balancer, table: Table) -> None:
    if balancer.least_up > len(balancer.members) > 0:
        count = len(balancer.members)
        table.wrong(
            "least_up", f"is more than the uplinks of the balancer, of which there are {count}"
        )


def _check_cycles(balancers: list[Balancer], tables: Mapping[str, Table]) -> None:
    """Note every cycle of fallbacks once, at its first balancer in the file."""
    following = {balancer.name: balancer.fallback for balancer in balancers}
    seen: set[str] = set()
    for start in following:
        way = [start]
        while (fallback := following.get(way[-1])) and fallback not in seen and fallback not in way:
            way.append(fallback)
        cycle = way[way.index(fallback) :] if fallback in way else []
        seen.update(way)
        if len(cycle) > 1:
            shown = " -> ".join([*cycle, cycle[0]])
            tables[cycle[0]].wrong("fallback", f"fallbacks must not form a cycle: {shown}")
