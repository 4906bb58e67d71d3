"""Connections, ended or tried again as the states of uplinks change."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from classifier.engine.engine import Engine
from classifier.errors import HostError
from classifier.host import conntrack
from classifier.policy import Family, Policy, Uplink
from classifier.service.challenge import challenge
from classifier.uplinks.endings import States, to_end, to_try_again

log = logging.getLogger(__name__)

_MOST_TOLD = 65536
"""Connections of an uplink that are looked at for clients to tell: a second or two of work."""


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
        for back, family in to_try_again(policy, self._followed, states):
            self._try_again(policy, back, family)
        self._followed = states

    def _end(self, policy: Policy, uplink: Uplink, family: Family) -> None:
        mark, mask = policy.mark(uplink), policy.gateway.mask
        # A flow that began just now would be put on this uplink once more.
        self._engine.forget_in_flight(uplink.name)
        try:
            there = conntrack.connections(mark, mask, family, _MOST_TOLD)
        except HostError as error:
            log.warning("%s", error)
            there = iter(())
        conntrack.flush(mark, mask, family)
        challenge(_clients(there), family)

    def _try_again(self, policy: Policy, back: Uplink | None, family: Family) -> None:
        """Clients that were made to leave another uplink for this one while it was dead too, which
        nobody knew yet, have asked there once and had no answer: they are made to ask again."""
        mark = policy.mark(back) if back else policy.gateway.marks.direct
        mask = policy.gateway.mask
        try:
            there = conntrack.connections(mark, mask, family, _MOST_TOLD)
            unanswered = [connection for connection in there if not connection.answered]
            if back is None:
                # The next packet of each is decided anew.
                self._engine.forget_in_flight(None)
                conntrack.end_unanswered(unanswered)
        except HostError as error:
            # They try again by themselves, later.
            log.warning("%s", error)
            return
        challenge(_clients(unanswered), family)


def _clients(connections: Iterable[conntrack.Connection]) -> Iterator[conntrack.TcpConnection]:
    return (tcp for connection in connections if (tcp := connection.masqueraded_tcp) is not None)
