"""From a policy and the facts of a host to everything that has to be on that host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from classifier.host import chains, conntrack, routing, sysctls
from classifier.host.facts import HostFacts
from classifier.host.state import Family, HostPlan, Sysctl
from classifier.policy import Policy, Uplink


def plan(policy: Policy, facts: HostFacts) -> HostPlan:
    """What the host needs for `policy`. Pure: the same policy and facts give the same plan.

    Never fails; what cannot work is told in `HostPlan.warnings`, and interfaces that are not there
    in `HostPlan.missing`.
    """
    families: tuple[Family, ...] = (4, 6) if policy.ipv6 and facts.ipv6 else (4,)
    return HostPlan(
        variant=facts.variant,
        routes=tuple(route for f in families for route in routing.routes(policy, facts, f)),
        rules=tuple(rule for f in families for rule in routing.rules(policy, facts, f)),
        firewalls=tuple(chains.firewall(policy, facts, f) for f in families),
        sysctls=tuple(_sysctls(policy, facts)),
        modules=conntrack.modules(policy.gateway.helpers),
        mask=policy.gateway.mask,
        missing=tuple(_missing(policy, facts)),
        warnings=tuple(_warnings(policy, facts, families)),
    )


def _missing(policy: Policy, facts: HostFacts) -> Iterator[str]:
    names = (*policy.gateway.lan, *(uplink.interface for uplink in policy.uplinks))
    for name in dict.fromkeys(names):
        if facts.interface(name) is None:
            yield name


def _sysctls(policy: Policy, facts: HostFacts) -> Iterator[Sysctl]:
    """In this order: accept_ra first, or forwarding would take away the routes it has brought."""
    if policy.ipv6:
        for uplink in policy.uplinks:
            key = f"net/ipv6/conf/{uplink.interface}/accept_ra"
            if uplink.gateway6 == "auto" and facts.sysctls.get(key) == "1":
                yield Sysctl(key, sysctls.ours(key))
    for uplink in policy.uplinks:
        yield from _reverse_path(uplink.interface, facts)
    yield Sysctl(sysctls.FORWARD4, "1")
    if policy.ipv6:
        yield Sysctl(sysctls.FORWARD6, "1")


def _reverse_path(interface: str, facts: HostFacts) -> Iterator[Sysctl]:
    """Strict becomes loose; and it asks by the mark, or an uplink would need main's default."""
    if facts.interface(interface) is None:
        return
    strictness = _effective("rp_filter", interface, facts)
    if strictness == 1:
        yield Sysctl(f"net/ipv4/conf/{interface}/rp_filter", "2")
    if strictness and not _effective("src_valid_mark", interface, facts):
        yield Sysctl(f"net/ipv4/conf/{interface}/src_valid_mark", "1")


def _effective(name: str, interface: str, facts: HostFacts) -> int:
    """The larger of `all` and the interface (Documentation/networking/ip-sysctl.rst)."""
    keys = (f"net/ipv4/conf/{where}/{name}" for where in ("all", interface))
    return max(int(facts.sysctls.get(key, "0")) for key in keys)


def _warnings(policy: Policy, facts: HostFacts, families: Iterable[Family]) -> Iterator[str]:
    if policy.ipv6 and not facts.ipv6:
        yield "this kernel has no IPv6, or it is switched off: IPv6 is left out"
    for uplink in policy.uplinks:
        interface = facts.interface(uplink.interface)
        if interface is None:
            continue  # told by `missing`
        if interface.up and uplink.gateway is None and not interface.point_to_point:
            yield (
                f"uplink {uplink.name}: {interface.name} is no point-to-point link; without a"
                " gateway every remote address is looked for on the link itself"
            )
        reasons = {f: why for f in families if (why := _unusable(uplink, facts, f))}
        for why in dict.fromkeys(reasons.values()):
            flows = " and ".join(f"IPv{family}" for family in reasons if reasons[family] == why)
            yield f"uplink {uplink.name}: {why}; it takes no {flows} flows until the next start"
    for family in families:
        if policy.gateway.local and not facts.default_interfaces(family):
            yield (
                f"the main table has no IPv{family} default route: new flows of the gateway itself"
                " have no way out, and are not classified"
            )


def _unusable(uplink: Uplink, facts: HostFacts, family: Family) -> str | None:
    if family == 6 and uplink.gateway6 is None:
        return None  # it was not asked to
    return routing.why_unusable(uplink, facts, family)
