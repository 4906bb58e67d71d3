"""What is allowed in a policy but is hardly what somebody wanted."""

from __future__ import annotations

from classifier.policy import Policy, Rule, Sticky


def warnings(policy: Policy) -> tuple[str, ...]:
    """Sentences about parts of `policy` that can have no effect."""
    return (
        *_unused(policy),
        *_hash_without_table(policy),
        *_rules_in_vain(policy),
        *_unreachable(policy),
    )


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
        f'balancer "{balancer.name}": a hash has no table, so sticky timeout and size do nothing'
        for balancer in policy.balancers
        if balancer.method == "hash" and (sticky := balancer.sticky)
        if (sticky.timeout, sticky.size) != (default.timeout, default.size)
    ]


def _rules_in_vain(policy: Policy) -> list[str]:
    found = []
    for rule in policy.rules:
        strangers = [i for i in rule.in_interfaces if i not in policy.gateway.lan]
        if strangers:
            names = ", ".join(strangers)
            found.append(f'rule "{rule.name}": not in gateway.lan, so never matched: {names}')
        if rule.users and not policy.gateway.local:
            found.append(f'rule "{rule.name}" never matches: it names users, but local is false')
    return found


def _unreachable(policy: Policy) -> list[str]:
    uplinks = {uplink.name for uplink in policy.uplinks}
    for index, rule in enumerate(policy.rules):
        # A rule that uses an uplink lets flows through to the next while that uplink is down.
        keeps_all = rule.strict or rule.use not in uplinks
        if keeps_all and _matches_everything(rule):
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
