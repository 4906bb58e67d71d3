"""The tables [uplinks.NAME]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from classifier.config import values
from classifier.config.health import read_health
from classifier.config.reading import Parse, Table
from classifier.policy import Capacity, Gateway, Uplink

LARGEST_WEIGHT = 65535
LARGEST_TIER = 255

_FLUSH: Parse[Literal["down", "never"]] = values.choice("down", "never")
_FAILBACK: Parse[Literal["keep", "move"]] = values.choice("keep", "move")


def read_uplinks(root: Table, gateway: Gateway) -> tuple[Uplink, ...]:
    """The uplinks in the order of the file, with ids from 1 on."""
    uplinks: list[Uplink] = []
    for name, table in root.named_tables("uplinks"):
        _check_name(name, table)
        uplink = _read_uplink(name, len(uplinks) + 1, table)
        _check_interface(uplink, table, uplinks, gateway)
        if uplink.onlink and "gateway" not in table and "gateway6" not in table:
            table.wrong("onlink", "needs a gateway or gateway6")
        uplinks.append(uplink)
        table.finish()
    if not root.raw("uplinks"):
        root.report.note(("uplinks",), None, "at least one is required: [uplinks.NAME]")
    largest = gateway.marks.largest_id
    if len(uplinks) > largest:
        rule = f"the mask 0x{gateway.mask:x} has room for {largest} uplinks, not {len(uplinks)}"
        root.report.note(("uplinks", uplinks[largest].name), None, rule)
    return tuple(uplinks)


def _read_uplink(name: str, number: int, table: Table) -> Uplink:
    return Uplink(
        name=name,
        id=number,
        interface=table.required("interface", values.interface, ""),
        gateway=table.one("gateway", values.gateway4, None),
        gateway6=table.one("gateway6", values.gateway6, None),
        weight=table.one("weight", values.integer(1, LARGEST_WEIGHT), 1),
        masquerade=table.one("masquerade", values.boolean, True),
        onlink=table.one("onlink", values.boolean, False),
        tier=table.one("tier", values.integer(1, LARGEST_TIER), 1),
        capacity=_read_capacity(table),
        flush=table.one("flush", _FLUSH, "down"),
        failback=table.one("failback", _FAILBACK, "keep"),
        health=read_health(table),
    )


def _read_capacity(table: Table) -> Capacity | None:
    if "capacity" not in table:
        return None
    if not isinstance(table.raw("capacity"), Mapping):
        both = table.one("capacity", values.rate, 0)
        return Capacity(both, both)
    own = table.table("capacity")
    capacity = Capacity(
        down=own.required("down", values.rate, 0), up=own.required("up", values.rate, 0)
    )
    own.finish()
    return capacity


def _check_name(name: str, table: Table) -> None:
    if rule := values.name_rule(name):
        table.report.note(table.path, None, rule)


def _check_interface(uplink: Uplink, table: Table, others: list[Uplink], gateway: Gateway) -> None:
    if not uplink.interface:
        return
    if uplink.interface in gateway.lan:
        table.wrong("interface", "is in gateway.lan too; an uplink needs an interface of its own")
    for other in others:
        if other.interface == uplink.interface:
            table.wrong("interface", f'is already the interface of uplink "{other.name}"')
            return
