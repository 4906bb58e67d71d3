"""The contract of balancing methods, for whoever writes one: `check_method(cls, options)`.

A method is asked about flows of all kinds while uplinks come and go, with loads known and unknown.
A broken rule is an AssertionError that says which, for which flow and uplinks.
"""

from __future__ import annotations

import inspect
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from statistics import median
from typing import Any

from classifier.engine.cython_method import CythonMethod
from classifier.engine.method_values import Flow, LiveUplink

_PROTOCOLS = (6, 6, 17, 17, 1, 47, 132)
_WITH_PORTS = (6, 17, 132)
_TWENTY_DAYS = 20 * 86400
_FIRST_TIME = 1_700_000_000.0


@dataclass(frozen=True, slots=True)
class MethodReport:
    """What a method did that broke no rule."""

    calls: int
    microseconds: float
    """Median time of a call."""
    slowest: float
    """Microseconds of the slowest call."""
    flows: Mapping[str, int]
    """Uplink to how often it was chosen."""


def check_method(
    cls: type,
    options: Mapping[str, Any] | None = None,
    *,
    uplinks: Sequence[str] = ("a", "b", "c"),
    calls: int = 5000,
    seed: int = 1,
    repeatable: bool = True,
) -> MethodReport:
    """Ask a method about flows; AssertionError where it breaks a rule.

    The rules: it can be made with these options, `validate` takes them, `prepare` raises nothing;
    `select` returns one of the uplinks it was given, every time, and raises nothing; it changes no
    uplink's or flow's attributes; and, unless `repeatable` is false, two objects with the same seed
    decide alike. `uplinks` are names, for methods whose options name some.
    """
    names = tuple(uplinks)
    assert names, "uplinks: at least one is needed"
    method = _made(cls, options, names, seed)
    twin = _made(cls, options, names, seed) if repeatable else None
    chance = random.Random(seed)
    chosen: Counter[str] = Counter()
    times = []
    now = _FIRST_TIME
    for number in range(calls):
        now += chance.expovariate(calls / _TWENTY_DAYS)
        flow = _flow(chance)
        there = _uplinks(chance, names, chosen)
        found, seconds = _selected(method, flow, there, now, number)
        times.append(seconds)
        if twin is not None:
            again, _ = _selected(twin, flow, there, now, number)
            assert again is found, (
                f"call {number}: two objects with the same seed returned {found!r} and {again!r}"
                f" for {flow!r}; take random numbers from the seed given to prepare, and the time"
                " from `now`, or say repeatable=False"
            )
        chosen[found.name] += 1
    return MethodReport(
        calls, median(times) * 1e6, max(times) * 1e6, {name: chosen[name] for name in names}
    )


def _made(cls: type, options: Mapping[str, Any] | None, names: tuple[str, ...], seed: int) -> Any:
    select = getattr(cls, "select", None)
    assert callable(select), f"{cls.__name__} has no method select(self, flow, uplinks, now)"
    if not issubclass(cls, CythonMethod):
        try:
            inspect.signature(select).bind(None, None, None, None)
        except TypeError:
            raise AssertionError(
                f"select must take (self, flow, uplinks, now), not {inspect.signature(select)}"
            ) from None
    made = _without_error("the constructor", lambda: cls(**(options or {})))
    if hasattr(made, "validate"):
        _without_error("validate", lambda: made.validate(names))
    if hasattr(made, "prepare"):
        _without_error("prepare", lambda: made.prepare(names, seed))
    return made


def _without_error(what: str, work: Any) -> Any:
    try:
        return work()
    except Exception as error:
        raise AssertionError(f"{what} raised {type(error).__name__}: {error}") from error


def _selected(
    method: Any, flow: Flow, uplinks: tuple[LiveUplink, ...], now: float, number: int
) -> tuple[LiveUplink, float]:
    """What `select` returned, and the seconds that it took."""
    asked = f"call {number}: select({flow!r}, {uplinks!r}, {now})"
    before = repr((flow, uplinks))
    began = time.perf_counter()
    try:
        found = method.select(flow, uplinks, now)
    except Exception as error:
        raise AssertionError(f"{asked} raised {type(error).__name__}: {error}") from error
    seconds = time.perf_counter() - began
    assert any(found is uplink for uplink in uplinks), (
        f"{asked} returned {found!r}, which is none of these uplinks"
    )
    assert repr((flow, uplinks)) == before, f"{asked} changed what it was given"
    assert isinstance(found, LiveUplink)
    return found, seconds


def _flow(chance: random.Random) -> Flow:
    protocol = chance.choice(_PROTOCOLS)
    with_ports = protocol in _WITH_PORTS
    own = chance.random() < 0.1
    return Flow(
        **_addresses(chance),
        protocol=protocol,
        sport=chance.randrange(65536) if with_ports else 0,
        dport=chance.choice((22, 53, 80, 443, chance.randrange(65536))) if with_ports else 0,
        in_interface=None if own else "lan0",
        dscp=chance.choice((0, 0, 0, 46, 8)),
        size=chance.randrange(28, 1500),
        user=1000 if own else None,
    )


def _addresses(chance: random.Random) -> dict[str, Any]:
    if chance.random() < 0.2:
        remote = IPv6Address(0x20010DB8 << 96 | chance.randrange(1 << 64))
        return {"src": IPv6Address((0xFD00 << 112) + chance.randrange(1, 200)), "dst": remote}
    local = IPv4Address(chance.choice((0xC0A80100, 0x0A000000)) + chance.randrange(1, 200))
    return {"src": local, "dst": IPv4Address(chance.randrange(0x08000000, 0x09000000))}


def _uplinks(
    chance: random.Random, names: tuple[str, ...], chosen: Mapping[str, int]
) -> tuple[LiveUplink, ...]:
    """All of them mostly, some or one at times; with figures, or, as at a start, without."""
    count = chance.choice((len(names), len(names), chance.randint(1, len(names))))
    there = sorted(chance.sample(range(len(names)), count))
    known = chance.random() < 0.8
    return tuple(
        LiveUplink(
            names[place],
            weight=place + 1,
            flows=chosen[names[place]],
            rate=chance.uniform(0, 2e6) if known else None,
            capacity=1e6 * (place + 1) if known or chance.random() < 0.5 else None,
            latency=chance.uniform(0.001, 0.3) if known else None,
        )
        for place in there
    )
