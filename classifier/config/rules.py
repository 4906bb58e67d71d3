"""The tables [[rules]]."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from classifier.config import values
from classifier.config.names import PORT_PROTOCOLS
from classifier.config.reading import Parse, Table, did_you_mean
from classifier.policy import DIRECT, DROP, Balancer, Rule, Uplink

# Names of the same matches in iptables, nft, mwan3 and tcpdump.
_ALSO_CALLED = {
    **dict.fromkeys(("src", "src_ip", "source", "saddr"), "from"),
    **dict.fromkeys(("dst", "dst_ip", "dest", "dest_ip", "destination", "daddr"), "to"),
    **dict.fromkeys(("sport", "sports", "src_port", "source_port", "from_port"), "from_ports"),
    **dict.fromkeys(("port", "ports", "dport", "dports", "dst_port", "dest_port"), "to_ports"),
    **dict.fromkeys(("proto", "protocols"), "protocol"),
    **dict.fromkeys(("iif", "iifname", "src_iface", "interface"), "in_interface"),
    **dict.fromkeys(("uid", "owner", "uid_owner", "users"), "user"),
    **dict.fromkeys(("use_policy", "action", "target", "balancer", "uplink"), "use"),
}

_FAMILY: Parse[Literal["ipv4", "ipv6"]] = values.choice("ipv4", "ipv6")


def read_rules(
    root: Table, uplinks: tuple[Uplink, ...], balancers: tuple[Balancer, ...]
) -> tuple[Rule, ...]:
    """The rules in the order of the file; a rule without a name is named by its number."""
    uplink_names = {uplink.name for uplink in uplinks}
    targets = {DIRECT, DROP, *uplink_names, *(balancer.name for balancer in balancers)}
    rules: list[Rule] = []
    for number, table in enumerate(root.array_of_tables("rules"), start=1):
        rule = _read_rule(number, table)
        _check_name(rule, table, rules)
        _check_use(rule, table, uplink_names, targets)
        _check_ports(rule, table)
        _check_families(rule, table)
        if rule.users and rule.in_interfaces:
            table.wrong(
                "user", "only locally originated flows have a user, and those have no in_interface"
            )
        rules.append(rule)
        table.finish(_ALSO_CALLED)
    return tuple(rules)


def _read_rule(number: int, table: Table) -> Rule:
    family = table.one("family", _FAMILY, None)
    return Rule(
        name=table.one("name", values.text, f"rule {number}"),
        use=table.required("use", values.string, ""),
        strict=table.one("strict", values.boolean, False),
        from_=table.many("from", values.network_of(family)),
        to=table.many("to", values.network_of(family)),
        protocols=table.many("protocol", values.protocol),
        from_ports=table.many("from_ports", values.ports),
        to_ports=table.many("to_ports", values.ports),
        in_interfaces=table.many("in_interface", values.interface),
        family=family,
        users=table.many("user", values.user),
        dscp=table.many("dscp", values.dscp),
    )


def _check_name(rule: Rule, table: Table, before: list[Rule]) -> None:
    if any(other.name == rule.name for other in before):
        table.wrong("name", f'another rule already has the name "{rule.name}"')


def _check_use(rule: Rule, table: Table, uplinks: set[str], targets: Collection[str]) -> None:
    if not isinstance(table.raw("use"), str):
        return  # noted already
    if rule.use not in targets:
        hint = did_you_mean(rule.use, targets)
        table.wrong("use", f"must be direct, drop, or name an uplink or balancer{hint}")
    elif rule.strict and rule.use not in uplinks:
        table.wrong("strict", "only a rule that uses an uplink can be strict")


def _check_ports(rule: Rule, table: Table) -> None:
    if all(number in PORT_PROTOCOLS for number in rule.protocols):
        return
    for key in ("from_ports", "to_ports"):
        if key in table:
            known = values.one_of(tuple(PORT_PROTOCOLS.values()))
            table.wrong(key, f"ports need a protocol with ports: {known}")


def _check_families(rule: Rule, table: Table) -> None:
    sources = {network.version for network in rule.from_}
    destinations = {network.version for network in rule.to}
    if sources and destinations and not sources & destinations:
        table.wrong("to", "from and to have no address family in common, so no flow can match")
