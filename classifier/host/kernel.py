"""Routing rules and routes as the kernel has them: read, add, delete, by netlink.

Everything of ours carries `PROTOCOL`. What is read keeps the kernel's own message beside the plain
value, so that it can be deleted, or put back, exactly as it was, also when another version of this
program wrote it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from classifier.errors import HostError
from classifier.host.state import ADDRESS_FAMILIES, PROTOCOL, TABLE_BASE, Family, Route, RoutingRule

_TO_TABLE, _UNREACHABLE = 1, 7  # FR_ACT_* in <linux/fib_rules.h>
_INVERT = 2  # FIB_RULE_INVERT
_ONLINK = 4  # RTNH_F_ONLINK in <linux/rtnetlink.h>
_NOT_SUPPRESSED = 0xFFFFFFFF


@dataclass(frozen=True)
class KernelRule:
    rule: RoutingRule
    """As far as a `RoutingRule` can say it."""
    protocol: int
    message: Mapping[str, Any] = field(compare=False, repr=False)

    def __str__(self) -> str:
        words = {"to": self.message.get("dst"), "iif": self.message.get("iifname")}
        more = "".join(f" {word} {value}" for word, value in words.items() if value)
        protocol = f" protocol {self.protocol}" if self.protocol else ""
        return f"{self.rule.selector}{more}{protocol}"


@dataclass(frozen=True)
class KernelRoute:
    route: Route
    """Of a route that is no default one, only family, table, interface and gateway are told."""
    protocol: int
    destination: str
    message: Mapping[str, Any] = field(compare=False, repr=False)

    def __str__(self) -> str:
        via = f" via {self.route.gateway}" if self.route.gateway else ""
        dev = f" dev {self.route.interface}"
        return f"{self.destination}{via}{dev} table {self.route.table} proto {self.protocol}"


class Kernel:
    """One netlink socket of the calling thread's network namespace.

    Every method raises HostError with the rule or route and what the kernel said.
    """

    def __init__(self) -> None:
        self._netlink = IPRoute()

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self._netlink.close()

    def rules(self, family: Family) -> list[KernelRule]:
        """All of a family; none where the kernel has no IPv6."""
        return [
            KernelRule(_rule(m), m.get_attr("FRA_PROTOCOL") or 0, _rule_request(m))
            for m in self._dump("get_rules", family)
        ]

    def our_rules(self) -> list[KernelRule]:
        return [r for f in ADDRESS_FAMILIES for r in self.rules(f) if r.protocol == PROTOCOL]

    def routes(self, family: Family) -> Iterator[KernelRoute]:
        """Every route that is of ours or in one of the tables that are ours to use."""
        names = {m["index"]: m.get_attr("IFLA_IFNAME") for m in self._netlink.get_links()}
        for message in self._dump("get_routes", family):
            table = message.get_attr("RTA_TABLE") or message["table"]
            if message["proto"] == PROTOCOL or TABLE_BASE <= table < TABLE_BASE + 256:
                yield _route(message, names)

    def our_routes(self) -> list[KernelRoute]:
        return [r for f in ADDRESS_FAMILIES for r in self.routes(f) if r.protocol == PROTOCOL]

    def add_rule(self, rule: RoutingRule) -> None:
        request = _new_rule_request(rule)
        self._do(f"ip -{rule.family} rule add {rule}", "rule", "add", request)

    def put_back_rule(self, there: KernelRule) -> None:
        self._do(f"ip -{there.rule.family} rule add {there}", "rule", "add", there.message)

    def delete_rule(self, there: KernelRule) -> None:
        self._do(f"ip -{there.rule.family} rule del {there}", "rule", "del", there.message)

    def replace_route(self, route: Route) -> None:
        """Add a default route, in the place of another one of its table if there is one."""
        what = f"ip -{route.family} route replace {route}"
        self._do(what, "route", "replace", self._new_route_request(route, what))

    def put_back_route(self, there: KernelRoute) -> None:
        self._do(f"ip -{there.route.family} route add {there}", "route", "replace", there.message)

    def delete_route(self, there: KernelRoute) -> None:
        self._do(f"ip -{there.route.family} route del {there}", "route", "del", there.message)

    def _dump(self, method: str, family: Family) -> Iterator[Any]:
        try:
            # A kernel without IPv6 answers some of these with what it has of other families.
            for message in getattr(self._netlink, method)(family=ADDRESS_FAMILIES[family]):
                if message["family"] == ADDRESS_FAMILIES[family]:
                    yield message
        except NetlinkError as error:
            if error.code not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                raise HostError(f"IPv{family} {method}: {error.args[1]}") from error

    def _do(self, what: str, kind: str, command: str, request: Mapping[str, Any]) -> None:
        try:
            getattr(self._netlink, kind)(command, **request)
        except NetlinkError as error:
            # Somebody did the very same meanwhile; the kernel drops routes of a link that fails.
            if command == "add" and error.code == errno.EEXIST:
                return
            if command == "del" and error.code in (errno.ENOENT, errno.ESRCH):
                return
            raise HostError(f"{what}: {error.args[1]}") from error

    def _new_route_request(self, route: Route, what: str) -> dict[str, Any]:
        found = self._netlink.link_lookup(ifname=route.interface)
        if not found:
            raise HostError(f"{what}: there is no interface {route.interface}")
        request: dict[str, Any] = {
            "family": ADDRESS_FAMILIES[route.family],
            "dst": "default",
            "oif": found[0],
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


def gateway_of(hop: Any) -> str | None:
    """The gateway of a route or of one of its paths; of IPv4 it may be IPv6 (RFC 8950)."""
    gateway = hop.get_attr("RTA_GATEWAY")
    if gateway is None and (via := hop.get_attr("RTA_VIA")):
        gateway = via["addr"]
    return str(gateway) if gateway is not None else None


def _rule(message: Any) -> RoutingRule:
    family: Family = 4 if message["family"] == ADDRESS_FAMILIES[4] else 6
    mark, mask = message.get_attr("FRA_FWMARK"), message.get_attr("FRA_FWMASK")
    suppress = message.get_attr("FRA_SUPPRESS_PREFIXLEN")
    source = message.get_attr("FRA_SRC")
    full = 32 if family == 4 else 128
    if source is not None and message["src_len"] != full:
        source = f"{source}/{message['src_len']}"
    return RoutingRule(
        family=family,
        priority=message.get_attr("FRA_PRIORITY") or 0,
        table=message.get_attr("FRA_TABLE") if message["action"] == _TO_TABLE else None,
        mark=(mark or 0, mask) if mask else None,
        inverted=bool(message["flags"] & _INVERT),
        source=source,
        out_interface=message.get_attr("FRA_OIFNAME"),
        specific_only=suppress == 0,
    )


def _new_rule_request(rule: RoutingRule) -> dict[str, Any]:
    request: dict[str, Any] = {
        "family": ADDRESS_FAMILIES[rule.family],
        "priority": rule.priority,
        "protocol": PROTOCOL,
        "flags": _INVERT if rule.inverted else 0,
    }
    if rule.table is None:
        request["action"] = _UNREACHABLE
    else:
        request["table"] = rule.table
    if rule.mark is not None:
        request["fwmark"], request["fwmask"] = rule.mark
    if rule.source is not None:
        request["src"], request["src_len"] = rule.source, 32 if rule.family == 4 else 128
    if rule.out_interface is not None:
        request["oifname"] = rule.out_interface
    if rule.specific_only:
        request["FRA_SUPPRESS_PREFIXLEN"] = 0
    return request


def _rule_request(message: Any) -> dict[str, Any]:
    """The message again as a request that means this very rule."""
    request = {name: message[name] for name in ("family", "src_len", "dst_len", "tos", "action")}
    request["flags"] = message["flags"] & _INVERT
    for name, value in message["attrs"]:
        if (name, value) != ("FRA_SUPPRESS_PREFIXLEN", _NOT_SUPPRESSED):
            # By the short names: pyroute2 looks for `priority` to see whether it has to add one.
            request[name.removeprefix("FRA_").lower()] = value
    return request


def _route(message: Any, names: Mapping[int, str]) -> KernelRoute:
    family: Family = 4 if message["family"] == ADDRESS_FAMILIES[4] else 6
    length = message["dst_len"]
    route = Route(
        family=family,
        table=message.get_attr("RTA_TABLE") or message["table"],
        interface=names.get(message.get_attr("RTA_OIF"), "?"),
        gateway=gateway_of(message),
        onlink=bool(message["flags"] & _ONLINK),
    )
    destination = f"{message.get_attr('RTA_DST')}/{length}" if length else "default"
    return KernelRoute(route, message["proto"], destination, _route_request(message))


def _route_request(message: Any) -> dict[str, Any]:
    names = ("family", "dst_len", "src_len", "tos", "proto", "scope", "type")
    request = {name: message[name] for name in names}
    request["flags"] = message["flags"] & _ONLINK
    # Statistics and such that the kernel tells and does not take.
    told_only = ("RTA_CACHEINFO", "RTA_PREF")
    request |= {name: value for name, value in message["attrs"] if name not in told_only}
    return request
