"""Rules of the native nftables ruleset that set mark bits, as far as they can be read.

What `nft -j` says is described in libnftables-json(5). A value that cannot be known without the
packet (a set that is filled at run time, say) counts as none.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from operator import and_ as operator_and
from typing import Any

from classifier.host.state import CHAIN_PREFIX

_LARGEST_RANGE = 1 << 16


def conflicts(ours: int) -> list[str]:
    """One line per rule that sets bits of `ours`; empty where there is no nft to ask."""
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin")
    if nft is None:
        return []
    done = subprocess.run([nft, "-j", "list", "ruleset"], capture_output=True, text=True)
    if done.returncode != 0:
        return []
    return list(ruleset_conflicts(json.loads(done.stdout), ours))


def ruleset_conflicts(ruleset: Mapping[str, Any], ours: int) -> Iterator[str]:
    """The same for what `nft -j list ruleset` printed."""
    objects = ruleset["nftables"]
    maps = {
        (m["family"], m["table"], m["name"]): m.get("elem", [])
        for entry in objects
        if (m := entry.get("map"))
    }
    for entry in objects:
        rule = entry.get("rule")
        if rule is None or rule["chain"].startswith(CHAIN_PREFIX):
            continue
        family, table = rule["family"], rule["table"]
        named = {name: elem for (f, t, name), elem in maps.items() if (f, t) == (family, table)}
        for statement in rule["expr"]:
            bits = _set_bits(statement, named) & ours
            if bits:
                place = f"{family} {table} {rule['chain']} handle {rule['handle']}"
                yield (
                    f"nft rule {place} sets mark bits 0x{bits:x} that are ours;"
                    f" change it, or gateway.mask (0x{ours:x})"
                )


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
