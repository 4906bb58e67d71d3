"""Byte counters in, loads of uplinks out: what least-loaded, overflow and methods of users go by.

For everybody who has an engine and knows the bytes that its uplinks have carried: the service reads
the counters of interfaces, `replay` and `simulate` add up the bytes of flows. It reads no clock and
no host. To be used like this:

    meter = LoadMeter(engine)
    # every half second (`SAMPLE_SECONDS`) of the time by which flows are decided, from the start on
    meter.sample(now, {"wired": (bytes_down, bytes_up), ...})

`now` is in seconds; counters are sums since any moment, per uplink: bytes from the internet, bytes
to the internet. `wants_loads(policy)` says whether any balancer looks at loads; if none does,
sampling can be spared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING

from classifier.policy import BY_WEIGHTS, Policy

if TYPE_CHECKING:
    from classifier.engine.engine import Engine

SAMPLE_SECONDS = 0.5
"""How often to sample, of the time by which flows are decided."""
_SMOOTHING = 2.0
"""Seconds: time constant of the rates."""
_MEMORY = 30.0
"""Seconds: time constant of the bytes that a flow brings on average."""
_FIRST_GUESS = 10_000.0
"""Bytes per second that a flow adds, before any flow has been measured."""
_LEAST = 100.0
"""Bytes per second that a flow is expected to add at least: so the flows of a burst are spread."""
_MOST = 8
"""A flow is expected to add no more than this part of the smallest capacity."""

Bytes = tuple[float, float]
"""Down (from the internet) and up."""


@dataclass(frozen=True, slots=True)
class UplinkLoad:
    down: float
    """Bytes per second from the internet, smoothed."""
    up: float
    latency: float | None = None
    """Seconds; None where it is not measured."""
    shown_down: float = 0.0
    """Bytes per second that what has come since the last measurement added to `down`."""
    shown_up: float = 0.0


def wants_loads(policy: Policy) -> bool:
    """Whether a balancer goes by loads or latencies, or may do so, as a method of a user."""
    return any(balancer.method not in BY_WEIGHTS for balancer in policy.balancers)


class LoadMeter:
    """Keeps an engine informed; one for each engine, also over changes of its policy.

    A rate is the mean of the last seconds (exponentially weighted, 2 s). So an uplink that gets a
    flow shows it late; until then the engine adds for each flow what flows bring on average: bytes
    per flow, over the time constant, as a flow of so many bytes would add to the mean at most. What
    has come is taken off again: a short flow is over before the next sample, and would count twice.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._time: float | None = None
        self._counters: dict[str, Bytes] = {}
        self._flows: dict[str, int] = {}
        self._rates: dict[str, Bytes] = {}
        self._shown: dict[str, Bytes] = {}
        self._recent_bytes: Bytes = (0.0, 0.0)
        self._recent_flows = 0.0

    def sample(
        self,
        now: float,
        counters: Mapping[str, Bytes],
        latencies: Mapping[str, float | None] | None = None,
    ) -> None:
        """Tell the engine the loads at `now`; a time that is not later than the last is left out.

        Uplinks that the policy does not have are left out, too. A counter that goes back, as that
        of an interface made anew, begins again. latencies: seconds, as probes measured them.
        """
        passed = 0.0 if self._time is None else now - self._time
        if self._time is not None and passed <= 0:
            return
        engine = self._engine
        placed = engine.counters().uplinks
        known = {name: value for name, value in counters.items() if name in placed}
        if passed:
            self._measure(passed, known, placed)
        self._time = now
        self._counters = dict(known)
        self._flows = dict(placed)
        latencies = latencies or {}
        loads = {
            name: UplinkLoad(
                *self._rates.get(name, (0.0, 0.0)),
                latencies.get(name),
                *self._shown.get(name, (0.0, 0.0)),
            )
            for name in known
        }
        engine.set_loads(loads, self._expected(), exp(-passed / _SMOOTHING) if passed else 0.0)

    def _measure(
        self, passed: float, counters: Mapping[str, Bytes], placed: Mapping[str, int]
    ) -> None:
        fading, forgetting = exp(-passed / _SMOOTHING), exp(-passed / _MEMORY)
        down, up = (forgetting * recent for recent in self._recent_bytes)
        for name, counter in counters.items():
            before = self._counters.get(name, counter)
            grown = tuple(max(0.0, new - old) for new, old in zip(counter, before, strict=True))
            self._shown[name] = grown[0] / _SMOOTHING, grown[1] / _SMOOTHING
            rates = self._rates.get(name, (0.0, 0.0))
            self._rates[name] = (
                fading * rates[0] + (1 - fading) * grown[0] / passed,
                fading * rates[1] + (1 - fading) * grown[1] / passed,
            )
            down, up = down + grown[0], up + grown[1]
        self._recent_bytes = down, up
        new = sum(max(0, placed[name] - self._flows.get(name, 0)) for name in counters)
        self._recent_flows = forgetting * self._recent_flows + new
        for gone in self._rates.keys() - counters.keys():
            del self._rates[gone], self._shown[gone]

    def _expected(self) -> Bytes:
        """Bytes per second that a new flow is expected to add, down and up."""
        capacities = [u.capacity for u in self._engine.policy.uplinks if u.capacity is not None]
        down = min((capacity.down / _MOST for capacity in capacities), default=None)
        up = min((capacity.up / _MOST for capacity in capacities), default=None)
        return self._flow_adds(0, down), self._flow_adds(1, up)

    def _flow_adds(self, direction: int, most: float | None) -> float:
        expected = _FIRST_GUESS
        if self._recent_flows >= 1:
            expected = self._recent_bytes[direction] / self._recent_flows / _SMOOTHING
        expected = max(expected, _LEAST)
        return expected if most is None else min(expected, most)
