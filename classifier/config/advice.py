"""What is allowed in a policy but is probably not intended."""

from __future__ import annotations

from classifier.policy import Policy, Rule, Sticky

STICKY_ENTRY_BYTES = 32
"""What the engine allocates for each entry of a sticky table: two slots of 16 bytes."""
_MUCH_MEMORY = 1 << 30


def warnings(policy: Policy) -> tuple[str, ...]:
    """Warnings about parts of `policy` that have no effect, or an effect that may surprise."""
    return (
        *_unused(policy),
        *_hash_without_table(policy),
        *_large_tables(policy),
        *_rules_that_never_match(policy),
        *_unreachable(policy),
    )


def sticky_memory(policy: Policy) -> int:
    """Bytes that all sticky tables take, from the start on and whether they are full or not."""
    return STICKY_ENTRY_BYTES * sum(
        balancer.sticky.size
        for balancer in policy.balancers
        if balancer.sticky is not None and balancer.method != "hash"
    )


def size_text(size: int) -> str:
    """Bytes as text with a unit, such as "2.0 MiB"."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def _unused(policy: Policy) -> list[str]:
    used = {rule.use for rule in policy.rules}
    used.update(balancer.fallback for balancer in policy.balancers)
    idle = [b.name for b in policy.balancers if b.name not in used]
    used.update(m.uplink for b in policy.balancers if b.name in used for m in b.members)
    found = [f'uplink "{u.name}" is used by no rule' for u in policy.uplinks if u.name not in used]
    found += [f'balancer "{name}" is used by no rule' for name in idle]
    return found if policy.rules else ["there are no rules, so every flow is direct"]


def _hash_without_table(policy: Policy) -> list[str]:
    default = Sticky()
    return [
        f'balancer "{balancer.name}": sticky timeout and size have no effect with method "hash"'
        for balancer in policy.balancers
        if balancer.method == "hash" and (sticky := balancer.sticky)
        if (sticky.timeout, sticky.size) != (default.timeout, default.size)
    ]


def _large_tables(policy: Policy) -> list[str]:
    memory = sticky_memory(policy)
    if memory < _MUCH_MEMORY:
        return []
    return [
        f"sticky tables take {size_text(memory)} of memory at startup, "
        f"{STICKY_ENTRY_BYTES} bytes for each entry of sticky size"
    ]


def _rules_that_never_match(policy: Policy) -> list[str]:
    found = []
    for rule in policy.rules:
        unknown = [i for i in rule.in_interfaces if i not in policy.gateway.lan]
        if unknown:
            names = ", ".join(unknown)
            found.append(f'rule "{rule.name}": not in gateway.lan, so they never match: {names}')
        if rule.users and not policy.gateway.local:
            found.append(
                f'rule "{rule.name}" never matches: it has users, but gateway.local is false'
            )
    return found


def _unreachable(policy: Policy) -> list[str]:
    uplinks = {uplink.name for uplink in policy.uplinks}
    for index, rule in enumerate(policy.rules):
        # While its uplink is down, a rule that uses an uplink passes flows on to the next rule.
        takes_all = rule.strict or rule.use not in uplinks
        if takes_all and _matches_everything(rule):
            later = [f'"{other.name}"' for other in policy.rules[index + 1 :]]
            if not later:
                return []
            return [f'rule "{rule.name}" takes every flow; never reached: {", ".join(later)}']
    return []


def _matches_everything(rule: Rule) -> bool:
    return not (
        rule.from_
        or rule.to
        or rule.protocols
        or rule.from_ports
        or rule.to_ports
        or rule.in_interfaces
        or rule.family
        or rule.users
        or rule.dscp
    )
