"""The example methods do what their first lines say, in a policy as they show it."""

from __future__ import annotations

import re
import struct
from collections import Counter
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import source_quota
import time_of_day
import two_choices

from classifier import Classifier
from classifier.config import parse_policy
from classifier.engine.load_meter import UplinkLoad
from classifier.errors import ConfigError
from classifier.policy import Policy
from classifier.testing.methods import check_method

EXAMPLES = Path(__file__).parents[2] / "examples"
MBIT = 125_000


def policy(example: str, uplinks: str) -> Policy:
    """The balancer that the example shows, between uplinks and a rule that uses it."""
    text = (EXAMPLES / f"{example}.py").read_text()
    (shown,) = re.findall(r"^    \[balancers.*?(?=^\S)", text, re.MULTILINE | re.DOTALL)
    return parse_policy(f"{uplinks}\n{shown}\n[[rules]]\nuse = 'all'")


def uplinks(*names: str, capacity: str = "10mbit") -> str:
    return "\n".join(
        f'[uplinks.{name}]\ninterface = "eth{number}"\ncapacity = "{capacity}"'
        for number, name in enumerate(names)
    )


def place(c: Classifier, count: int, now: float, source: str = "10.0.0.1") -> Counter[str | None]:
    packets = []
    for _ in range(count):
        place.remote += 1
        packets.append(
            struct.pack(
                ">BBHHHBBHIIHHHH", 0x45, 0, 28, 0, 0, 64, 17, 0, int(ip_address(source)),
                0x08000000 + place.remote, 1024, 53, 8, 0,
            )
        )  # fmt: skip
    decisions = c.classify_many(packets, now)
    assert {decision.reason for decision in decisions} <= {"custom"}
    return Counter(decision.uplink for decision in decisions)


place.remote = 0


def berlin(hour: int, minute: int = 0, day: int = 1) -> float:
    return datetime(2026, 7, day, hour, minute, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


def test_by_time_of_day() -> None:
    c = Classifier(policy("time_of_day", uplinks("dsl", "lte")), seed=1)
    assert set(place(c, 100, berlin(12))) == {"dsl"}
    assert set(place(c, 100, berlin(21, 59))) == {"dsl"}
    assert set(place(c, 100, berlin(22))) == {"dsl", "lte"}
    assert set(place(c, 100, berlin(5, 59, day=2))) == {"dsl", "lte"}
    assert set(place(c, 100, berlin(6, 0, day=2))) == {"dsl"}
    c.set_up("dsl", False)
    assert set(place(c, 100, berlin(12, 0, day=2))) == {"lte"}


def test_by_the_quota_of_a_source_subnet() -> None:
    c = Classifier(policy("source_quota", uplinks("fibre", "dsl")), seed=1)
    assert place(c, 600, 0.0, "192.168.30.7") == {"fibre": 500, "dsl": 100}
    assert place(c, 100, 60.0, "192.168.30.8") == {"dsl": 100}
    assert place(c, 100, 60.0, "192.168.20.1") == {"fibre": 100}
    assert set(place(c, 100, 60.0, "192.168.40.1")) == {"fibre", "dsl"}
    assert place(c, 100, 3600.0, "192.168.30.7") == {"fibre": 100}
    c.set_up("fibre", False)
    assert place(c, 10, 3600.0, "192.168.20.1") == {"dsl": 10}


def test_by_the_power_of_two_choices() -> None:
    c = Classifier(policy("two_choices", uplinks("fibre", "dsl", "lte")), seed=1)
    placed = place(c, 600, 0.0)
    assert max(placed.values()) - min(placed.values()) < 60
    busy = UplinkLoad(down=9 * MBIT, up=0.0)
    idle = UplinkLoad(down=1 * MBIT, up=0.0)
    c.engine.set_loads({"fibre": busy, "dsl": idle, "lte": busy})
    placed = place(c, 900, 1.0)
    # It is left out only where it is drawn in neither draw: 4 of 9.
    assert placed["dsl"] == pytest.approx(500, abs=60)
    # Each flow that is placed adds to the load: no herd on the one that was idle.
    c.engine.set_loads({"fibre": busy, "dsl": idle, "lte": busy}, expected=(0.1 * MBIT, 0.0))
    assert place(c, 120, 2.0)["dsl"] < 100


@pytest.mark.parametrize(
    ("cls", "options", "names"),
    [
        (time_of_day.TimeOfDay, {"only": {"b": "08:00-18:00"}}, ("a", "b")),
        (source_quota.SourceQuota, {"uplink": "a", "quotas": {"10.0.0.0/8": 10}}, ("a", "b")),
        (two_choices.TwoChoices, {}, ("a", "b", "c")),
    ],
)
def test_they_keep_the_contract(cls: type, options: dict[str, object], names: tuple[str]) -> None:
    report = check_method(cls, options, uplinks=names, calls=2000)
    assert set(report.flows) == set(names)
    assert min(report.flows.values()) > 100


@pytest.mark.parametrize(
    ("example", "options", "rule"),
    [
        ("time_of_day:TimeOfDay", '{ only = { lte = "22-6h" } }', "must be hours such as"),
        ("time_of_day:TimeOfDay", '{ only = { umts = "22:00-06:00" } }', "only.umts: must be one"),
        ("time_of_day:TimeOfDay", '{ only = {}, timezone = "Mars" }', "timezone = 'Mars'"),
        ("source_quota:SourceQuota", '{ uplink = "umts", quotas = {} }', "uplink = 'umts'"),
        ("source_quota:SourceQuota", '{ uplink = "dsl", quotas = { x = 1 } }', "'x' does not"),
    ],
)
def test_their_options_are_checked(example: str, options: str, rule: str) -> None:
    balancer = f'[balancers.all]\nuplinks = ["dsl"]\nmethod = "{example}"\noptions = {options}'
    with pytest.raises(ConfigError, match=re.escape(rule)):
        parse_policy(f"{uplinks('dsl')}\n{balancer}")
