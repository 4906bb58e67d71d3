"""The load meter: byte counters in, and flows go where there is room."""

from __future__ import annotations

import struct

from pytest import approx

from classifier import Classifier
from classifier.config import parse_policy
from classifier.engine.load_meter import SAMPLE_SECONDS, LoadMeter, wants_loads

POLICY = """
[uplinks.a]
interface = "eth0"
capacity = "20mbit"
[uplinks.b]
interface = "eth1"
capacity = {{ down = "10mbit", up = "1mbit" }}
[uplinks.c]
interface = "eth2"
capacity = "5mbit"
[balancers.all]
method = "{method}"
uplinks = ["a", "b", "c"]
[[rules]]
use = "all"
"""
MBIT = 125_000


def classifier(method: str = "least-loaded", options: str = "") -> Classifier:
    text = POLICY.format(method=method).replace("[[rules]]", f"{options}\n[[rules]]")
    return Classifier(parse_policy(text), seed=1)


def place(c: Classifier, numbers: range, now: float) -> list[str | None]:
    packets = [
        struct.pack(">BBHHHBBHIIHHHH", 0x45, 0, 28, 0, 0, 64, 17, 0, 0x0A000001, 0x08000000 + n,
                    1024, 53, 8, 0)
        for n in numbers
    ]  # fmt: skip
    return [decision.uplink for decision in c.classify_many(packets, now)]


class Line:
    """Carries a fixed rate from a moment on."""

    def __init__(self, down: float = 0.0, up: float = 0.0) -> None:
        self.down, self.up = down, up

    def at(self, now: float) -> tuple[float, float]:
        return self.down * now, self.up * now


def run(meter: LoadMeter, lines: dict[str, Line], start: float, seconds: float) -> float:
    for step in range(round(seconds / SAMPLE_SECONDS) + 1):
        now = start + step * SAMPLE_SECONDS
        meter.sample(now, {name: line.at(now) for name, line in lines.items()})
    return now


def test_only_policies_that_look_at_loads_need_them() -> None:
    assert wants_loads(classifier().policy)
    assert not wants_loads(classifier("nth").policy)


def test_a_flow_goes_to_the_uplink_with_most_room_in_its_fuller_direction() -> None:
    c = classifier()
    lines = {"a": Line(10 * MBIT), "b": Line(1 * MBIT, 0.4 * MBIT), "c": Line(3 * MBIT)}
    now = run(LoadMeter(c.engine), lines, 0, 20)
    assert place(c, range(1), now) == ["b"]  # 50, 40 and 60 percent
    lines["b"] = Line(1 * MBIT, 0.9 * MBIT)
    meter = LoadMeter(c.engine)
    now = run(meter, lines, now + 1, 20)
    assert place(c, range(1, 2), now) == ["a"]


def test_a_burst_between_two_samples_is_spread_by_capacity() -> None:
    """All uplinks idle, nothing measured: no herd on the one that looked emptiest."""
    c = classifier(options="options = { tolerance = 0 }")
    LoadMeter(c.engine).sample(0.0, dict.fromkeys("abc", (0, 0)))
    placed = place(c, range(70), 0.1)
    # b has a tenth of its downlink capacity upwards, so that it fills first there.
    assert placed.count("a") > 50
    assert placed.count("c") > placed.count("b") > 0


def test_a_flow_is_expected_to_bring_what_flows_brought() -> None:
    c = classifier()
    meter = LoadMeter(c.engine)
    seen = []

    class Looking:
        def __getattr__(self, name: str) -> object:
            return getattr(c.engine, name)

        def set_loads(self, loads: object, expected: object, fading: float) -> None:
            seen.append((loads, expected, fading))

    meter = LoadMeter(Looking())  # type: ignore[arg-type]
    total = 0.0
    for step in range(200):
        now = step * SAMPLE_SECONDS
        meter.sample(now, {"a": (total, total / 10), "b": (0, 0), "c": (0, 0)})
        place(c, range(step * 10, step * 10 + 10), now)
        total += 10 * 40_000  # ten flows of 40 kB in half a second
    loads, expected, fading = seen[-1]
    assert loads["a"].down == approx(800_000, rel=0.01)
    assert loads["a"].up == approx(80_000, rel=0.01)
    assert expected == approx((20_000, 2000), rel=0.01)
    assert 0 < fading < 1


def test_a_counter_that_begins_again_is_no_negative_rate() -> None:
    c = classifier()
    meter = LoadMeter(c.engine)
    for now, received in enumerate([10**9, 10**9 + 500_000, 0, 100, 200]):
        meter.sample(float(now), {"a": (received, 0)})
    meter.sample(4.0, {"a": (10**12, 0)})  # no time has passed: left out
    meter.sample(5.0, {"a": (300, 0), "gone": (1, 1)})
    assert place(c, range(3), 5.0).count(None) == 0


def test_short_flows_are_not_counted_twice_once_they_have_come() -> None:
    """They are over before the next sample: 60 percent of the first uplink stay on it."""
    c = classifier("overflow", "[balancers.all.options]\nshare = 80")
    meter, flow_bytes, per_sample = LoadMeter(c.engine), 12_500, 60
    carried = dict.fromkeys("abc", 0.0)
    numbers = iter(range(100_000))
    placed: list[str | None] = []
    for step in range(60):
        now = step * SAMPLE_SECONDS
        meter.sample(now, {name: (count, 0.0) for name, count in carried.items()})
        begin = next(numbers)
        placed = place(c, range(begin * 100, begin * 100 + per_sample), now)
        for name in placed:
            carried[str(name)] += flow_bytes
    assert placed == ["a"] * per_sample
