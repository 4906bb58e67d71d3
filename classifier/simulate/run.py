"""Running simulated flows through the engine."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable

from classifier.engine.engine import Engine
from classifier.engine.load_meter import SAMPLE_SECONDS, LoadMeter, wants_loads
from classifier.policy import Policy, Uplink
from classifier.replay.figures import Figures, figures
from classifier.replay.report import Decisions, RuleUse, Use, method_errors
from classifier.replay.script import UplinkScript, parse_event
from classifier.simulate import traffic as defaults
from classifier.simulate.report import Durations, Load, Simulation
from classifier.simulate.simulator import Simulator
from classifier.simulate.traffic import Traffic, read_traffic

_DIRECT, _DROPPED = 0, 254
_SECOND = 1.0
_END = 1e15
_REPORTS = 200


def simulate(
    policy: Policy,
    flows: float = defaults.FLOWS,
    *,
    remotes: str = defaults.REMOTES,
    arrivals: str | None = None,
    parallel: int | None = None,
    together: bool = False,
    hosts: int = defaults.HOSTS,
    lan: str = defaults.LAN,
    bytes: str = defaults.BYTES,
    ports: str = defaults.PORTS,
    flow_rate: str = defaults.FLOW_RATE,
    in_interface: str | None = None,
    at: Iterable[str] = (),
    seed: int | None = None,
    keep: bool = True,
    watch: bool = False,
) -> Simulation:
    """Run synthetic flows through a policy; everything is written as for the command `simulate`.

    `flows`: how many begin in all. `arrivals`: when they begin, `poisson:100` (per second) unless
    `parallel` clients each begin one when their last one has ended, or, `together`, all of them
    when the last one of all has ended. `in_interface`, `at`: as for `replay`. `keep`: whether the
    report has every flow and not only the sums; a flow takes some 80 bytes. `watch`: whether it has
    `figures`. The same seed gives the same report.

    UsageError: a value that makes no sense, with the rule that it breaks.
    """
    wanted = read_traffic(
        flows=flows,
        remotes=remotes,
        arrivals=arrivals,
        parallel=parallel,
        together=together,
        hosts=hosts,
        lan=lan,
        bytes=bytes,
        ports=ports,
        flow_rate=flow_rate,
    )
    return run(policy, wanted, seed=seed, in_interface=in_interface, at=at, keep=keep, watch=watch)


def run(
    policy: Policy,
    wanted: Traffic,
    *,
    seed: int | None = None,
    in_interface: str | None = None,
    at: Iterable[str] = (),
    keep: bool = False,
    watch: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Simulation:
    """As `simulate`, with traffic that has been read; `progress` hears of the flows begun."""
    if seed is None:
        seed = int.from_bytes(os.urandom(8))
    if in_interface is None and len(policy.gateway.lan) == 1:
        in_interface = policy.gateway.lan[0]
    events = [parse_event(text, policy) for text in at]
    engine = Engine(policy, seed)
    script = UplinkScript(engine, policy, events)
    simulator = Simulator(engine, wanted, seed & 0xFFFF_FFFF_FFFF_FFFF, in_interface, keep, watch)
    looks = _Looks(policy, simulator, LoadMeter(engine) if wants_loads(policy) else None)
    looks.look(0.0)
    told, now = 0, 0.0
    while not simulator.over:
        until = looks.next
        if script.next_at is not None:
            until = min(until, script.next_at / 1000)
        if watch:
            _tally(simulator, now, until)
        _go_on(simulator, until)
        now = until
        if progress is not None and simulator.begun >= told + wanted.flows // _REPORTS:
            told = simulator.begun
            progress(told)
        for uplink, family in script.run(round(until * 1000)):
            # Every flow has had an answer, so none on no uplink (0) is tried again.
            if uplink and family == wanted.lan.version:
                simulator.cut(uplink, until)
        looks.look(until)
    found = None
    if watch:
        simulator.finish_tally()
        began = (None, round(simulator.ended_at * 1000))
        found = figures(policy, simulator.tally, simulator.remotes, began)
    return _report(policy, engine, simulator, found)


def _go_on(simulator: Simulator, until: float) -> None:
    while not simulator.run(until):
        pass  # so that Ctrl-C is heard


def _tally(simulator: Simulator, now: float, until: float) -> None:
    """Tell the tally about each tenth of a second up to `until`, or of a longer time, in which
    nothing begins or ends, about it as a whole."""
    times = [until]
    if until - now <= _SECOND:
        times[:0] = [n / 10 for n in range(math.floor(now * 10) + 1, math.ceil(until * 10))]
    for time in times:
        # What begins at that time comes after what was carried before.
        _go_on(simulator, math.nextafter(time, 0.0))
        simulator.tally_until(time)


class _Looks:
    """Looks at what the uplinks have carried: as often as a gateway does, and for peaks."""

    def __init__(self, policy: Policy, simulator: Simulator, meter: LoadMeter | None) -> None:
        self._uplinks = [(uplink.name, uplink.id) for uplink in policy.uplinks]
        self._simulator = simulator
        self._meter = meter
        self._step = _SECOND if meter is None else SAMPLE_SECONDS
        self._now = 0.0
        self._second = 0.0

    @property
    def next(self) -> float:
        """Seconds. As long as nothing begins or ends, every second is like the one before."""
        quiet = math.floor(min(self._simulator.next_time, _END))
        if self._now == self._second and quiet > self._now:
            return quiet
        return (self._now // self._step + 1) * self._step

    def look(self, now: float) -> None:
        """Take down what was carried until `now`, where the simulation is."""
        self._now = now
        if now == math.floor(now) and now > self._second:
            self._simulator.measure(now, now - self._second)
            self._second = now
        if self._meter is not None:
            carried = self._simulator.carried(now)
            self._meter.sample(now, {name: (carried[id], 0.0) for name, id in self._uplinks})


def _report(
    policy: Policy, engine: Engine, simulator: Simulator, found: Figures | None
) -> Simulation:
    log = simulator.log
    window, begun = simulator.window()
    sums = {uplink.name: Use(*log.total(uplink.id)) for uplink in policy.uplinks}
    placed = sum(use.flows for use in sums.values())
    direct, dropped = Use(*log.total(_DIRECT)), Use(*log.total(_DROPPED))
    loads = {uplink.name: _load(uplink, simulator, window) for uplink in policy.uplinks}
    return Simulation(
        seconds=simulator.ended_at,
        packets=sum(use.packets for use in (*sums.values(), direct, dropped)),
        flows=placed + direct.flows + dropped.flows,
        malformed=0,
        untracked=0,
        without_ip=0,
        uplinks={
            name: Use(use.flows, use.packets, use.bytes, use.flows / placed if placed else 0.0)
            for name, use in sums.items()
        },
        direct=direct,
        dropped=dropped,
        inbound=Use(0, 0, 0),
        rules=tuple(
            RuleUse(rule.name, flows) for rule, flows in zip(policy.rules, log.rules(), strict=True)
        ),
        decisions=Decisions(log, policy),
        balancers=method_errors(policy, engine),
        figures=found,
        offered=round(begun / window) if window else None,
        throughput=sum(load.throughput or 0 for load in loads.values()) if window else None,
        durations=_durations(simulator, [uplink.id for uplink in policy.uplinks]),
        loads=loads,
    )


def _load(uplink: Uplink, simulator: Simulator, window: float) -> Load:
    carried, peak, most_flows, cut = simulator.load(uplink.id)
    capacity = uplink.capacity.down if uplink.capacity is not None else None
    throughput = round(carried / window) if window else None
    return Load(
        capacity=capacity,
        throughput=throughput,
        utilisation=None
        if throughput is None or capacity is None
        else min(throughput / capacity, 1.0),
        peak=round(peak),
        most_flows=most_flows,
        cut=cut,
        durations=_durations(simulator, [uplink.id]),
    )


def _durations(simulator: Simulator, places: list[int]) -> Durations:
    found = [simulator.durations(place) for place in places]
    steps: Counter[float] = Counter()
    for _, _, some in found:
        steps.update(some)
    return Durations.of(sum(n for n, _, _ in found), sum(s for _, s, _ in found), steps)
