"""Rules of the native nftables ruleset that set mark bits, as far as they can be read.

What `nft -j` says is described in libnftables-json(5). A value that cannot be known without the
packet (a set that is filled at run time, say) counts as none.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from operator import and_ as operator_and
from typing import Any

from classifier.host.iptables.ruleset import is_ours
from classifier.policy import Policy

_LARGEST_RANGE = 1 << 16


def conflicts(listing: str, policy: Policy) -> Iterator[str]:
    """One line per rule that sets mark bits of ours or sends to a queue of ours.

    listing: what `nft -j` has printed, one or more JSON objects; empty: nothing.
    """
    for line in listing.splitlines():
        if line.strip():
            yield from _object_conflicts(json.loads(line), policy)


def _object_conflicts(ruleset: Mapping[str, Any], policy: Policy) -> Iterator[str]:
    ours = policy.gateway.mask
    objects = ruleset["nftables"]
    maps = {
        (m["family"], m["table"], m["name"]): m.get("elem", [])
        for entry in objects
        if (m := entry.get("map"))
    }
    for entry in objects:
        rule = entry.get("rule")
        if rule is None or is_ours(rule["chain"]):
            continue
        family, table = rule["family"], rule["table"]
        named = {name: elem for (f, t, name), elem in maps.items() if (f, t) == (family, table)}
        place = f"nft rule {family} {table} {rule['chain']} handle {rule['handle']}"
        for statement in rule["expr"]:
            if bits := _set_bits(statement, named) & ours:
                advice = f"change it, or gateway.mask (0x{ours:x})"
                yield f"{place} sets mark bits 0x{bits:x} that are ours; {advice}"
            if number := _our_queue(statement, policy):
                what = f"sends packets to queue {number}, which is ours"
                yield f"{place} {what}; change it, or queue.first"


def _our_queue(statement: Mapping[str, Any], policy: Policy) -> str:
    """The first queue of ours that a statement sends to, as text; empty: none."""
    if "queue" not in statement:
        return ""
    wanted = (statement["queue"] or {}).get("num", 0)
    if isinstance(wanted, dict):
        wanted = wanted.get("range")
    if not isinstance(wanted, int | list):
        return ""  # computed from the packet
    first, last = wanted if isinstance(wanted, list) else (wanted, wanted)
    return next((str(number) for number in policy.queue.numbers if first <= number <= last), "")


def _set_bits(statement: Mapping[str, Any], maps: Mapping[str, Any]) -> int:
    mangle = statement.get("mangle")
    if not isinstance(mangle, dict) or not _is_mark(mangle["key"]):
        return 0
    return _bits(mangle["value"], maps)


def _is_mark(expression: Any) -> bool:
    if not isinstance(expression, dict):
        return False
    subject = expression.get("meta") or expression.get("ct") or {}
    return isinstance(subject, dict) and subject.get("key") == "mark"


def _bits(value: Any, maps: Mapping[str, Any]) -> int:
    """Every bit that may come out as one without having been one in a mark before."""
    if isinstance(value, int):
        return value
    if not isinstance(value, dict):
        return 0
    operator, operands = next(iter(value.items()))
    if operator in ("|", "^"):
        return _any_of(operands, maps)
    if operator == "&":
        return functools.reduce(operator_and, (_bits(operand, maps) for operand in operands))
    if operator == "map":
        return _map_bits(operands["data"], maps)
    if operator in ("numgen", "jhash", "symhash"):
        last = min(operands["mod"], _LARGEST_RANGE)
        return _any_of([operands.get("offset", 0) + number for number in range(last)], maps)
    return 0


def _map_bits(data: Any, maps: Mapping[str, Any]) -> int:
    if isinstance(data, str):
        return _any_of([value for _, value in maps.get(data.removeprefix("@"), [])], maps)
    if isinstance(data, dict) and "set" in data:
        return _any_of([value for _, value in data["set"]], maps)
    return 0


def _any_of(values: Any, maps: Mapping[str, Any]) -> int:
    bits = 0
    for value in values:
        bits |= _bits(value, maps)
    return bits
