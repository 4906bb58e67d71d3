"""One method of one's own in `check`, `explain`, `replay` and Python alike."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from classifier import Classifier, load_policy, replay
from classifier.commands import main
from classifier.config import parse_policy
from classifier.testing import PolicyAssertionError
from classifier.testing import replay as replay_in_test

CONFIG = """
[gateway]
lan = ["lan0"]
[uplinks.dsl]
interface = "eth0"
[uplinks.lte]
interface = "eth1"
[balancers.all]
method = "{method}"
options = {options}
uplinks = ["dsl", "lte"]
[[rules]]
use = "all"
"""
FLOW = "udp 192.168.1.5:40000 > 203.0.113.9:53 in lan0"


def config(folder: Path, method: str, options: str = "{}") -> str:
    file = folder / "gateway.toml"
    file.write_text(CONFIG.format(method=method, options=options))
    return str(file)


def packet(number: int) -> bytes:
    """The only one of a flow of its own."""
    ip = (0x45, 0, 28, 0, 0, 64, 17, 0, 0x0A000001, 0x08000000 + number)
    return struct.pack(">BBHHHBBHIIHHHH", *ip, 1024, 53, 8, 0)


def capture(folder: Path, times: list[datetime]) -> str:
    """A pcap of raw IP: at each time a packet of a flow of its own."""
    file = folder / "flows.pcap"
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    for number, time in enumerate(times):
        data += struct.pack("<IIII", int(time.timestamp()), 0, 28, 28) + packet(number)
    file.write_bytes(data)
    return str(file)


def test_what_the_page_shows_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
    (code,) = re.findall(r"^```python\n(# quota.py\n.*?)^```", page, re.DOTALL | re.MULTILINE)
    (balancer,) = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (trial,) = re.findall(r"^```python\n(from class.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "quota.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    uplinks = "".join(f'[uplinks.{name}]\ninterface = "{name}"\n' for name in ("wired", "wifi1"))
    c = Classifier(parse_policy(f'{uplinks}{balancer}[[rules]]\nuse = "all"'), seed=1)
    placed = Counter(c.classify(packet(number), 0.0).uplink for number in range(150))
    assert placed["wifi1"] == pytest.approx(50, abs=20)
    assert c.counters().balancers["all"].errors == 0
    names = {"Quota": type(c.engine.methods_of_users()[0].made)}
    exec(trial, names)
    names["test_quota"]()  # type: ignore[operator]


def test_replay_asks_it_about_the_flows_of_a_capture_at_the_capture_s_time(tmp_path: Path) -> None:
    file = config(tmp_path, "time_of_day:TimeOfDay", '{ only = { dsl = "08:00-18:00" } }')
    # Of the two, only `lte` has no hours; in its hours `dsl` takes half.
    hours = [datetime(2024, 2, 3, hour, 30, tzinfo=UTC) for hour in range(24)] * 1
    report = replay(load_policy(file), [capture(tmp_path, hours)], seed=3)
    found = {
        datetime.fromtimestamp(one.time, UTC).hour: (one.uplink, one.reason)
        for one in report.decisions
    }
    assert set(found) == set(range(24))
    assert {reason for _, reason in found.values()} == {"custom"}
    by_day = {uplink for hour, (uplink, _) in found.items() if 8 <= hour < 18}
    by_night = {uplink for hour, (uplink, _) in found.items() if not 8 <= hour < 18}
    assert (by_day, by_night) == ({"dsl", "lte"}, {"lte"})


def test_explain_says_that_it_decided_or_that_it_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config(tmp_path, "custom_methods:First", '{ prefer = "lte" }')
    assert main(["explain", file, FLOW, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["uplink"], found["reason"], found["notes"]) == ("lte", "custom", [])
    assert main(["explain", config(tmp_path, "custom_methods:Raising"), FLOW, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reason"] == "weighted"
    assert found["notes"][0].startswith("the method of balancer all failed, so that its weights")
    assert "RuntimeError: no idea" in found["notes"][0]


def test_replay_and_simulate_say_that_it_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config(tmp_path, "custom_methods:Raising")
    flows = capture(tmp_path, [datetime(2024, 2, 3, tzinfo=UTC)] * 5)
    said = "balancer all: its method failed 5 times, so that its weights decided; the last time: "
    for arguments in (
        ["replay", file, flows, "--against", file],
        ["simulate", file, "--flows", "5", "--remotes", "uniform:1000000"],
    ):
        assert main([*arguments, "--json", "--seed", "1"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["balancers"] == {"all": {"errors": 5}}
        assert f"nfq-classifier: {said}RuntimeError: no idea" in err
        if arguments[0] == "replay":
            assert f"nfq-classifier: {file}: {said}" in err


def test_a_test_of_a_policy_whose_method_fails_does_not_pass(tmp_path: Path) -> None:
    file = config(tmp_path, "custom_methods:Raising")
    flows = capture(tmp_path, [datetime(2024, 2, 3, tzinfo=UTC)] * 5)
    with pytest.raises(PolicyAssertionError, match=r"its method failed 5 times.*no idea"):
        replay_in_test(file, flows)


def test_check_shows_method_and_options_and_no_shares_that_nobody_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", config(tmp_path, "custom_methods:First", '{ prefer = "lte" }')]) == 0
    text = capsys.readouterr().out
    assert "custom_methods:First (prefer lte)" in text
    assert "50.0%" not in text
    # TOML has values that JSON has not.
    options = "{ prefer = 0.5, at = [2026-01-02, 06:30:00], deep = { x = true } }"
    assert main(["check", config(tmp_path, "custom_methods:Anything", options), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["balancers"]["all"]["options"]
    assert found == {"prefer": 0.5, "at": ["2026-01-02", "06:30:00"], "deep": {"x": True}}


def test_check_refuses_a_method_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config(tmp_path, "custom_methods:First", '{ prefer = "umts" }')
    assert main(["check", file]) == 2
    said = capsys.readouterr().err
    assert f'{file}: line 10: balancers.all.options = {{ prefer = "umts" }}: it refuses' in said
