"""Connections of uplinks, ended as states change, so that they begin anew elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from classifier.engine.engine import Engine
from classifier.errors import HostError
from classifier.host import conntrack
from classifier.host.state import Family
from classifier.policy import Policy, Uplink
from classifier.service.challenge import challenge
from classifier.service.sticky import engine_now
from classifier.uplinks.state import State

log = logging.getLogger(__name__)

_MOST_TOLD = 65536
"""Connections of an uplink that are looked at for clients to tell: a second or two of work."""

States = Mapping[tuple[str, Family], State]
"""Uplink and family to what it is."""


class Connections:
    """Those of one network namespace, that of the thread that calls `follow`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._followed: States = {}

    def follow(self, policy: Policy, states: States) -> None:
        """End what the change from the states that were followed last asks for.

        To be called when new flows avoid what is not up already. Raises HostError; then the next
        call tries again.
        """
        for uplink, family in to_end(policy, self._followed, states):
            log.info(
                "uplink %s: its IPv%d connections are ended, to be begun elsewhere",
                uplink.name,
                family,
            )
            self._end(policy, uplink, family)
        self._followed = states

    def _end(self, policy: Policy, uplink: Uplink, family: Family) -> None:
        mark, mask = policy.mark(uplink), policy.gateway.mask
        # A flow that began just now would be put on this uplink once more.
        self._engine.let_flights_go(uplink.name, engine_now())
        try:
            clients = conntrack.masqueraded(mark, mask, family, _MOST_TOLD)
        except HostError as error:
            log.warning("%s", error)
            clients = iter(())
        conntrack.flush(mark, mask, family)
        challenge(clients, family)


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
