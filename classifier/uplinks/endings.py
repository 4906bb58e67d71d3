"""Whose connections are ended, or tried again, when uplinks change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from classifier.policy import FAMILIES, Family, Policy, Uplink
from classifier.uplinks.state import State

States = Mapping[tuple[str, Family], State]
"""Uplink and family to what it is."""


def to_end(policy: Policy, before: States, after: States) -> Iterator[tuple[Uplink, Family]]:
    """The uplinks and families whose connections are to be ended now that `before` is `after`.

    Of an uplink that is down, once another is up (`flush`); and, of one that is back and moves its
    flows (`failback`), the standby uplinks that took them. What is unknown before was up.
    """
    for uplink in policy.uplinks:
        for family in (f for name, f in after if name == uplink.name):
            key = uplink.name, family
            if uplink.flush == "down" and _replaced(key, after) and not _replaced(key, before):
                yield uplink, family
            was, now = before.get(key, "up"), after[key]
            if was == "down" and now == "up" and uplink.failback == "move":
                yield from ((standby, family) for standby in _standbys(policy, uplink))


def to_try_again(
    policy: Policy, before: States, after: States
) -> Iterator[tuple[Uplink | None, Family]]:
    """The uplinks and families whose connections without an answer can have one from now on: what
    is back. None, for those that were left to the main routing table, when a rule leads to an
    uplink again and led to none before."""
    unknown: State = "down" if before else "up"
    for family in FAMILIES:
        was = {name: before.get((name, family), unknown) for name, of in after if of == family}
        up = [name for name in was if after[name, family] == "up"]
        yield from ((policy.uplink(name), family) for name in up if was[name] == "down")
        were_up = {name for name in was if was[name] == "up"}
        if any(names & {*up} and not names & were_up for names in _targets(policy)):
            yield None, family


def _targets(policy: Policy) -> Iterator[set[str]]:
    """The uplinks of each balancer, and those that rules use by themselves."""
    yield from ({member.uplink for member in balancer.members} for balancer in policy.balancers)
    used = {rule.use for rule in policy.rules} | {b.fallback for b in policy.balancers}
    yield from ({uplink.name} for uplink in policy.uplinks if uplink.name in used)


def _replaced(key: tuple[str, Family], states: States) -> bool:
    """Whether an uplink is down for a family while another is up."""
    uplink, family = key
    others = (
        state == "up" for (name, of), state in states.items() if of == family and name != uplink
    )
    return states.get(key, "up") == "down" and any(others)


def _standbys(policy: Policy, uplink: Uplink) -> Iterator[Uplink]:
    """The uplinks of higher tiers beside this one."""
    for balancer in policy.balancers:
        tiers = {member.uplink: member.tier for member in balancer.members}
        if uplink.name in tiers:
            for name, tier in tiers.items():
                if tier > tiers[uplink.name]:
                    yield policy.uplink(name)
