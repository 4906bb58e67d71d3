"""What the running service would decide about a flow, asked without changing anything.

Asked is a copy of the engine, made of what outlives a restart: policy, seed, uplinks in use, sticky
entries, turns. What a copy cannot know is left open: random draws, and methods that go by the load
of the moment. Flows in flight are not in it either: it is always about a new flow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from classifier.engine.engine import Engine
from classifier.engine.sticky_file import export_sticky, import_sticky
from classifier.errors import HostError, UsageError
from classifier.host import programs
from classifier.policy import Policy
from classifier.service.control.routes import Request
from classifier.service.explain.explanation import Explanation, explained
from classifier.service.explain.flow import Flow, parse_flow

_KNOWN = frozenset({"nth", "hash"})
"""Methods whose next answer is known beforehand."""
_STAND_IN = "weighted"


class LiveExplanations:
    """Of one service's engine, which was made with `seed`."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._seed = seed

    async def answer(self, request: Request) -> dict[str, Any]:
        """To `{"flow": TEXT}`. Raises UsageError."""
        text = request.body.get("flow")
        if not isinstance(text, str):
            raise UsageError('flow: must be text, such as "tcp 10.0.0.5:40000 > 192.0.2.1:443"')
        flow = parse_flow(text)
        # Here, where no other policy can come in between.
        policy = self._engine.policy
        able = {u.name: self._engine.usable_families(u.name) for u in policy.uplinks}
        found = await asyncio.to_thread(self._explained, policy, able, flow)
        return asdict(found)

    def _explained(
        self, policy: Policy, able: Mapping[str, tuple[bool, bool]], flow: Flow
    ) -> Explanation:
        """Takes as long as copying all sticky entries, a tenth of a second for a million."""
        copy = Engine(_without_methods(policy), self._seed)
        copy.set_usable_families(able)
        now = round(time.monotonic() * 1000)
        import_sticky(copy, export_sticky(self._engine, now), now)
        found = explained(policy, copy, flow, now)
        method = _asked_then(policy, found)
        if method is None:
            return replace(found, route=kernel_route(flow, found.mark))
        reason = found.reason
        if reason == _STAND_IN:
            reason = "custom" if ":" in method else method
        return replace(
            found,
            uplink=None,
            reason=reason,
            mark=0,
            table=None,
            why=f"the method {method} is asked when a flow comes; its answer is not known before",
        )


def _without_methods(policy: Policy) -> Policy:
    """Nobody's own method may be asked, or even made, for a question."""
    balancers = tuple(
        b if b.method in _KNOWN else replace(b, method=_STAND_IN, options={}, custom=None)
        for b in policy.balancers
    )
    return replace(policy, balancers=balancers)


def _asked_then(policy: Policy, found: Explanation) -> str | None:
    """The method that a stand-in has answered for; None where none has."""
    if found.uplink is None or found.reason not in (_STAND_IN, "fallback"):
        return None
    by_name = {balancer.name: balancer for balancer in policy.balancers}
    balancer = by_name.get(found.balancer or "")
    if found.reason == "fallback" and balancer is not None:
        balancer = by_name.get(balancer.fallback)
    # Of several fallbacks in a row any may have been the one.
    while balancer is not None:
        if balancer.method not in _KNOWN:
            return balancer.method
        balancer = by_name.get(balancer.fallback)
    return None


def kernel_route(flow: Flow, mark: int) -> str:
    """What `ip route get` answers for the flow with that mark, or why it has no answer."""
    ip = programs.find("ip")
    if ip is None:
        return "ip: not found in PATH"
    words = [ip, f"-{flow.source.version}", "route", "get", str(flow.destination)]
    if flow.in_interface:
        words += ["from", str(flow.source), "iif", flow.in_interface]
    if mark:
        words += ["mark", f"{mark:#x}"]
    try:
        return " ".join(programs.run(words).split())
    except HostError as error:
        return str(error)
