"""Messages of rtnetlink as plain values, and the requests that mean these values.

Attributes are named as in <linux/rtnetlink.h> and <linux/fib_rules.h>.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from classifier.host.snapshot import Connected, DefaultRoute, KernelRoute, KernelRule
from classifier.host.state import (
    ADDRESS_FAMILIES,
    MAIN_TABLE,
    PROTOCOL,
    Route,
    RoutingRule,
    is_uplink_table,
)
from classifier.policy import Family

_TO_TABLE, _GOTO, _UNREACHABLE = 1, 2, 7  # FR_ACT_* in <linux/fib_rules.h>
_INVERT = 2  # FIB_RULE_INVERT
_ONLINK = 4  # RTNH_F_ONLINK in <linux/rtnetlink.h>
_NOT_SUPPRESSED = 0xFFFFFFFF
_UNICAST = 1  # RTN_UNICAST

Names = Mapping[int, str]
"""Interface index to name."""


def family(message: Any) -> Family:
    return 4 if message["family"] == ADDRESS_FAMILIES[4] else 6


def table(message: Any) -> int:
    return int(message.get_attr("RTA_TABLE") or message["table"])


def is_main(message: Any) -> bool:
    return bool(message["type"] == _UNICAST and table(message) == MAIN_TABLE)


def concerns_us(message: Any) -> bool:
    """Whether a route is one of ours, or in one of the tables that are ours to use."""
    return bool(message["proto"] == PROTOCOL or is_uplink_table(table(message)))


def default_routes(message: Any, names: Names) -> Iterator[DefaultRoute]:
    """One for every path; none when the route is no default one."""
    if message["dst_len"] == 0:
        metric = message.get_attr("RTA_PRIORITY") or 0
        for index, gateway in _paths(message):
            if index in names:
                yield DefaultRoute(family(message), names[index], gateway, metric)


def connected(message: Any, names: Names) -> Iterator[Connected]:
    paths = _paths(message)
    if message["dst_len"] == 0 or any(gateway for _, gateway in paths):
        return
    for index, _ in paths:
        if index in names:
            yield Connected(f"{message.get_attr('RTA_DST')}/{message['dst_len']}", names[index])


def _paths(message: Any) -> list[tuple[int, str | None]]:
    multipath = message.get_attr("RTA_MULTIPATH")
    if multipath is None:
        return [(message.get_attr("RTA_OIF"), _gateway(message))]
    return [(hop["oif"], _gateway(hop)) for hop in multipath]


def _gateway(hop: Any) -> str | None:
    """The gateway of a route or of one of its paths; of IPv4 it may be IPv6 (RFC 8950)."""
    gateway = hop.get_attr("RTA_GATEWAY")
    if gateway is None and (via := hop.get_attr("RTA_VIA")):
        gateway = via["addr"]
    return str(gateway) if gateway is not None else None


def kernel_rule(message: Any) -> KernelRule:
    mark, mask = message.get_attr("FRA_FWMARK"), message.get_attr("FRA_FWMASK")
    source, destination = message.get_attr("FRA_SRC"), message.get_attr("FRA_DST")
    full = 32 if family(message) == 4 else 128
    if source is not None and message["src_len"] != full:
        source = f"{source}/{message['src_len']}"
    rule = RoutingRule(
        family=family(message),
        priority=message.get_attr("FRA_PRIORITY") or 0,
        table=message.get_attr("FRA_TABLE") if message["action"] == _TO_TABLE else None,
        mark=(mark or 0, mask) if mask else None,
        inverted=bool(message["flags"] & _INVERT),
        source=source,
        destination=destination if message["dst_len"] == full else None,
        in_interface=message.get_attr("FRA_IIFNAME"),
        out_interface=message.get_attr("FRA_OIFNAME"),
        specific_only=message.get_attr("FRA_SUPPRESS_PREFIXLEN") == 0,
        goto=message.get_attr("FRA_GOTO") if message["action"] == _GOTO else None,
    )
    return KernelRule(rule, message.get_attr("FRA_PROTOCOL") or 0, _same_rule(message))


def _same_rule(message: Any) -> dict[str, Any]:
    """The message again as a request that means this very rule."""
    request = {name: message[name] for name in ("family", "src_len", "dst_len", "tos", "action")}
    request["flags"] = message["flags"] & _INVERT
    for name, value in message["attrs"]:
        if (name, value) != ("FRA_SUPPRESS_PREFIXLEN", _NOT_SUPPRESSED):
            # By the short names: pyroute2 looks for `priority` to see whether it has to add one.
            request[name.removeprefix("FRA_").lower()] = _plain(value)
    return request


def new_rule(rule: RoutingRule) -> dict[str, Any]:
    """The request that adds a rule of ours."""
    request: dict[str, Any] = {
        "family": ADDRESS_FAMILIES[rule.family],
        "priority": rule.priority,
        "protocol": PROTOCOL,
        "flags": _INVERT if rule.inverted else 0,
    }
    if rule.table is not None:
        request["table"] = rule.table
    elif rule.goto is not None:
        request["action"], request["goto"] = _GOTO, rule.goto
    else:
        request["action"] = _UNREACHABLE
    if rule.mark is not None:
        request["fwmark"], request["fwmask"] = rule.mark
    if rule.source is not None:
        request["src"], request["src_len"] = rule.source, 32 if rule.family == 4 else 128
    if rule.destination is not None:
        request["dst"], request["dst_len"] = rule.destination, 32 if rule.family == 4 else 128
    if rule.in_interface is not None:
        request["iifname"] = rule.in_interface
    if rule.out_interface is not None:
        request["oifname"] = rule.out_interface
    if rule.specific_only:
        request["FRA_SUPPRESS_PREFIXLEN"] = 0
    return request


def kernel_route(message: Any, names: Names) -> KernelRoute:
    length = message["dst_len"]
    route = Route(
        family=family(message),
        table=table(message),
        interface=names.get(message.get_attr("RTA_OIF"), "?"),
        gateway=_gateway(message),
        onlink=bool(message["flags"] & _ONLINK),
    )
    destination = f"{message.get_attr('RTA_DST')}/{length}" if length else "default"
    return KernelRoute(route, message["proto"], destination, _same_route(message))


def _same_route(message: Any) -> dict[str, Any]:
    names = ("family", "dst_len", "src_len", "tos", "proto", "scope", "type")
    request = {name: message[name] for name in names}
    request["flags"] = message["flags"] & _ONLINK
    # Statistics and such that the kernel tells and does not take.
    told_only = ("RTA_CACHEINFO", "RTA_PREF")
    request |= {name: _plain(value) for name, value in message["attrs"] if name not in told_only}
    return request


def new_route(route: Route, index: int) -> dict[str, Any]:
    """The request that adds a route of ours; `index` is that of its interface."""
    request: dict[str, Any] = {
        "family": ADDRESS_FAMILIES[route.family],
        "dst": "default",
        "oif": index,
        "table": route.table,
        "proto": PROTOCOL,
    }
    if route.gateway is not None and route.family == 4 and ":" in route.gateway:
        request["via"] = {"family": ADDRESS_FAMILIES[6], "addr": route.gateway}
    elif route.gateway is not None:
        request["gateway"] = route.gateway
    elif route.family == 4:
        request["scope"] = "link"
    if route.onlink:
        request["flags"] = ["onlink"]
    return request


def _plain(value: Any) -> Any:
    """A netlink value as dictionaries and lists, which JSON knows too."""
    if isinstance(value, dict):
        shown = ("attrs",) if "attrs" in value else value.keys()
        return {name: _plain(value[name]) for name in shown}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
