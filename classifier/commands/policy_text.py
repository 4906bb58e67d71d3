"""A policy as JSON values and as text for people."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence

from classifier.commands.table import Column, paragraph, render
from classifier.config.advice import size_text, sticky_memory
from classifier.config.names import dscp_name, protocol_name
from classifier.host.state import table_of
from classifier.policy import (
    BY_WEIGHTS,
    METHOD_OPTIONS,
    Balancer,
    Capacity,
    Health,
    Member,
    Policy,
    PortRange,
    Rule,
    Sticky,
    Uplink,
)
from classifier.uplinks.tiers import in_use


def policy_data(policy: Policy) -> dict[str, object]:
    """The effective policy as JSON values: durations in seconds, memory in bytes."""
    gateway = policy.gateway
    return {
        "gateway": dataclasses.asdict(gateway),
        "queue": dataclasses.asdict(policy.queue),
        "uplinks": {
            uplink.name: {
                "id": uplink.id,
                "mark": policy.mark(uplink),
                "table": table_of(uplink),
                "interface": uplink.interface,
                "gateway": uplink.gateway,
                "gateway6": uplink.gateway6,
                "weight": uplink.weight,
                "masquerade": uplink.masquerade,
                "onlink": uplink.onlink,
                "tier": uplink.tier,
                "capacity": dataclasses.asdict(uplink.capacity) if uplink.capacity else None,
                "flush": uplink.flush,
                "failback": uplink.failback,
                "health": _health_data(uplink.health) if uplink.health else None,
            }
            for uplink in policy.uplinks
        },
        "balancers": {
            balancer.name: {
                "method": balancer.method,
                "options": _option_data(balancer.options),
                "uplinks": {
                    member.uplink: {
                        "weight": member.weight,
                        "tier": member.tier,
                        "share": share,
                    }
                    for member, share in _shares(balancer)
                },
                "least_up": balancer.least_up,
                "sticky": dataclasses.asdict(balancer.sticky) if balancer.sticky else None,
                "fallback": balancer.fallback,
            }
            for balancer in policy.balancers
        },
        "rules": [_rule_data(rule) for rule in policy.rules],
        "sticky_memory": sticky_memory(policy),
        "marks": {
            "mask": gateway.mask,
            "direct": gateway.marks.direct,
            "unclassified": gateway.marks.unclassified,
        },
    }


def policy_text(policy: Policy, advice: Sequence[str]) -> str:
    """The effective policy and warnings about it."""
    plain = _life_row(Uplink("", 0, ""))[1:]
    life = [_life_row(uplink) for uplink in policy.uplinks]
    if all(row[1:] == plain for row in life):
        life = []  # nothing is said in the file
    parts = [
        _gateway_text(policy),
        render(_UPLINK_COLUMNS, [_uplink_row(policy, uplink) for uplink in policy.uplinks]),
        render(_LIFE_COLUMNS, life) if life else "",
        render(_BALANCER_COLUMNS, [_balancer_row(balancer) for balancer in policy.balancers])
        if policy.balancers
        else "",
        render(_RULE_COLUMNS, _rule_rows(policy)),
        "".join(paragraph("warning: ", sentence) for sentence in advice),
    ]
    return "\n".join(part for part in parts if part)


_UPLINK_COLUMNS = (
    Column("uplink"),
    Column("id", right=True),
    Column("mark", right=True),
    Column("table", right=True),
    Column("interface"),
    Column("gateway"),
    Column("gateway6"),
    Column("weight", right=True),
    Column("masquerade"),
    Column("onlink"),
)
_LIFE_COLUMNS = (
    Column("uplink"),
    Column("tier", right=True),
    Column("capacity"),
    Column("flush"),
    Column("failback"),
    Column("health"),
)
_BALANCER_COLUMNS = (
    Column("balancer"),
    Column("method"),
    Column("shares"),
    Column("sticky"),
    Column("fallback"),
)
_RULE_COLUMNS = (Column("#", right=True), Column("rule"), Column("matches"), Column("use"))


def _gateway_text(policy: Policy) -> str:
    gateway, queue = policy.gateway, policy.queue
    last = queue.numbers[-1]
    numbers = str(queue.first) if queue.count == 1 else f"{queue.first} to {last}"
    flows = [*gateway.lan, *(["the gateway itself"] if gateway.local else [])]
    lines = [
        ("flows from", ", ".join(flows)),
        (
            "mark bits",
            f"0x{gateway.mask:x} (direct 0x{gateway.marks.direct:x}, "
            f"unclassified 0x{gateway.marks.unclassified:x})",
        ),
        ("firewall", gateway.firewall),
        ("helpers", ", ".join(gateway.helpers) or "none"),
        *(
            [("control", f"root, the service's user, group {group}")]
            if (group := gateway.control_group)
            else []
        ),
        *([("on change", shlex.join(gateway.on_change))] if gateway.on_change else []),
        (
            "queue",
            f"{numbers}, length {queue.length}, {queue.backend}, when it is full: {queue.overload}",
        ),
    ]
    if memory := sticky_memory(policy):
        lines.append(("memory", f"{size_text(memory)} for sticky tables"))
    return "".join(paragraph(f"{title:<12}", text) for title, text in lines)


def _uplink_row(policy: Policy, uplink: Uplink) -> tuple[object, ...]:
    return (
        uplink.name,
        uplink.id,
        f"0x{policy.mark(uplink):x}",
        table_of(uplink),
        uplink.interface,
        uplink.gateway or "none",
        uplink.gateway6 or "none",
        uplink.weight,
        "yes" if uplink.masquerade else "no",
        "yes" if uplink.onlink else "no",
    )


def _life_row(uplink: Uplink) -> tuple[object, ...]:
    return (
        uplink.name,
        uplink.tier,
        _capacity_text(uplink.capacity),
        uplink.flush,
        uplink.failback,
        _health_text(uplink.health) if uplink.health else "not probed",
    )


def _capacity_text(capacity: Capacity | None) -> str:
    if capacity is None:
        return "unknown"
    if capacity.down == capacity.up:
        return rate_text(capacity.down)
    return f"{rate_text(capacity.down)} down, {rate_text(capacity.up)} up"


def rate_text(rate: int) -> str:
    """Bytes per second as they are written in the configuration, in the largest unit that fits."""
    kilobits = rate // 125
    for unit, size in (("gbit", 1_000_000), ("mbit", 1000)):
        if kilobits % size == 0:
            return f"{kilobits // size}{unit}"
    return f"{kilobits}kbit"


def _health_text(health: Health) -> str:
    """Only how it is probed and when it is down; the rest is in --json."""
    interval = duration_text(health.interval)
    targets = _listed([target.text for target in health.targets])
    return (
        f"{health.probe} to {targets} every {interval}; down after {health.down} rounds, "
        f"up after {health.up}"
    )


def _health_data(health: Health) -> dict[str, object]:
    values = dataclasses.asdict(health)
    names = {target.name for target in health.targets if target.name}
    targets = [target.text for target in health.targets]
    return {**values, "targets": targets, "name": next(iter(names), None)}


def _balancer_row(balancer: Balancer) -> tuple[str, ...]:
    by_weights = balancer.method in BY_WEIGHTS
    shares = ", ".join(
        f"{member.uplink} {share:.1%}" if by_weights else member.uplink
        for member, share in _shares(balancer)
    )
    method = balancer.method
    if balancer.options:
        built_in = balancer.method in METHOD_OPTIONS
        method += f" ({', '.join(_option_text(*o, built_in) for o in balancer.options.items())})"
    return balancer.name, method, shares, _sticky_text(balancer), balancer.fallback


def _option_text(name: str, value: object, built_in: bool) -> str:
    """Of the options of methods built in, the durations are no integers."""
    return f"{name} {duration_text(value) if built_in and isinstance(value, float) else value}"


def _option_data(value: object) -> object:
    """An option as JSON; dates and times, which TOML has, as text."""
    if isinstance(value, Mapping):
        return {key: _option_data(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_option_data(inner) for inner in value]
    return value if isinstance(value, str | int | float) else str(value)


def _shares(balancer: Balancer) -> list[tuple[Member, float]]:
    """Each uplink of a balancer with the share (0 to 1) it gets while all are up."""
    taking_flows = in_use(balancer, [member.uplink for member in balancer.members])
    total = sum(member.weight for member in taking_flows)
    return [
        (member, member.weight / total if member in taking_flows else 0.0)
        for member in balancer.members
    ]


def _sticky_text(balancer: Balancer) -> str:
    by_hash = balancer.method == "hash"
    sticky = balancer.sticky or (Sticky() if by_hash else None)
    if sticky is None:
        return "no"
    # A hash has no entries: the key alone decides.
    text = f"by {sticky.by}" + ("" if by_hash else f" for {duration_text(sticky.timeout)}")
    if sticky.prefix4 != 32:
        text += f", IPv4 /{sticky.prefix4}"
    if sticky.prefix6 != 128:
        text += f", IPv6 /{sticky.prefix6}"
    return text if by_hash else f"{text}, at most {sticky.size}"


def duration_text(seconds: float) -> str:
    """A duration as it is written in the configuration, in the largest unit that fits."""
    milliseconds = round(seconds * 1000)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def _rule_rows(policy: Policy) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for number, rule in enumerate(policy.rules, start=1):
        use = f"{rule.use}, strict" if rule.strict else rule.use
        rows.append((number, rule.name, _matches_text(rule), use))
    rows.append(("", "", "no rule matched", "direct"))
    return rows


def _rule_data(rule: Rule) -> dict[str, object]:
    return {
        "name": rule.name,
        "use": rule.use,
        "strict": rule.strict,
        "from": [str(network) for network in rule.from_],
        "to": [str(network) for network in rule.to],
        "protocol": list(rule.protocols),
        "from_ports": [list(ports) for ports in rule.from_ports],
        "to_ports": [list(ports) for ports in rule.to_ports],
        "in_interface": list(rule.in_interfaces),
        "family": rule.family,
        "user": list(rule.users),
        "dscp": list(rule.dscp),
    }


def _matches_text(rule: Rule) -> str:
    matches: list[tuple[str, Sequence[str]]] = [
        ("", [rule.family] if rule.family else []),
        ("", [protocol_name(number) for number in rule.protocols]),
        ("from", [str(network) for network in rule.from_]),
        ("from port", [_ports_text(ports) for ports in rule.from_ports]),
        ("to", [str(network) for network in rule.to]),
        ("to port", [_ports_text(ports) for ports in rule.to_ports]),
        ("in", rule.in_interfaces),
        ("user", [str(user) for user in rule.users]),
        ("dscp", [dscp_name(number) for number in rule.dscp]),
    ]
    said = [f"{word} {_listed(items)}".strip() for word, items in matches if items]
    return "; ".join(said) or "everything"


def _ports_text(ports: PortRange) -> str:
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


def _listed(items: Sequence[str]) -> str:
    """The items, or the first of very many: a rule may name thousands of networks."""
    most = 12
    rest = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + rest
