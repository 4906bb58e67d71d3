"""`--state-dir`: commands that try a policy use what the service has stored, and change nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from classifier.commands import main
from classifier.config import load_policy
from classifier.engine.classifier import Classifier
from classifier.engine.sticky_file import export_sticky
from classifier.service.explain.flow import first_packet, parse_flow
from classifier.state import asked, health, ids, seed, sticky

CONFIG = """
[gateway]
lan = ["lan0"]
[uplinks.wired]
interface = "eth0"
[uplinks.wifi]
interface = "eth1"
[uplinks.wifi.health]
probe = "icmp"
targets = "192.0.2.1"
[balancers.all]
uplinks = ["wired", "wifi"]
sticky = { by = "remote", timeout = "4h" }
[[rules]]
use = "all"
"""
FLOW = "tcp 192.168.1.5:40000 > {}:443 in lan0"
SEED = 0x0123456789ABCDEF


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "gateway.toml"
    file.write_text(CONFIG)
    return str(file)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory in which ids are not those of the file's order."""
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / ids.FILE_NAME).write_text('{"wifi": 1, "wired": 7}')
    (folder / seed.FILE_NAME).write_text(f"{SEED:016x}\n")
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(words) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def remember(config: str, state: Path, remote: str) -> str:
    """Store an entry as a service would, that got a flow to `remote` first; its uplink."""
    policy = ids.stored_ids(state, load_policy(config))
    classifier = Classifier(policy, SEED)
    packet = first_packet(parse_flow(FLOW.format(remote)))
    placed = classifier.classify(packet, 1.0, "lan0").uplink
    sticky.store_sticky(state, export_sticky(classifier.engine, 1000))
    assert placed is not None
    return placed


def test_marks_entries_and_turns_are_those_of_the_gateway(
    config: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    placed = remember(config, state, "203.0.113.9")
    again = said(
        capsys, "explain", config, FLOW.format("203.0.113.9"), "--json", "--state-dir", str(state)
    )
    assert (again["uplink"], again["reason"]) == (placed, "sticky")
    assert again["mark"] == {"wifi": 0x100, "wired": 0x700}[placed]
    other = said(
        capsys, "explain", config, FLOW.format("203.0.113.1"), "--json", "--state-dir", str(state)
    )
    assert (other["uplink"] != placed, other["reason"]) == (True, "nth")
    checked = said(capsys, "check", config, "--json", "--state-dir", str(state))
    assert checked["uplinks"]["wired"]["mark"] == 0x700  # type: ignore[index]


@pytest.mark.parametrize("why", ["drained", "probes"])
def test_what_is_out_of_use_takes_no_flow_and_is_told(
    config: str, state: Path, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    if why == "drained":
        asked.store_asked(state, {"wifi": "drain"})
        note = "uplink wifi is out of use: drain, by hand"
    else:
        health.store_bad(state, {"wifi": frozenset({4, 6})})
        note = "uplink wifi is out of use: its probes over IPv4 and IPv6 failed"
    for remote in ("203.0.113.1", "203.0.113.2"):
        answer = said(
            capsys, "explain", config, FLOW.format(remote), "--json", "--state-dir", str(state)
        )
        assert answer["uplink"] == "wired"
        assert note in answer["notes"]  # type: ignore[operator]
    assert note in said(capsys, "check", config, "--json", "--state-dir", str(state))["warnings"]  # type: ignore[operator]


def test_a_replay_begins_with_the_entries_and_forced_states_of_the_gateway(
    config: str, state: Path, capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (flow, *_) = flows(capsys, config, capture, "--state-dir", str(state))
    assert flow["reason"] == "nth"
    placed = remember(config, state, str(flow["dst"]))
    (flow, *_) = flows(capsys, config, capture, "--state-dir", str(state))
    assert (flow["uplink"], flow["reason"]) == (placed, "sticky")
    other = {"wired": "wifi", "wifi": "wired"}[placed]
    asked.store_asked(state, {placed: "down"})
    (flow, *_) = flows(capsys, config, capture, "--state-dir", str(state))
    assert flow["uplink"] == other


def flows(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, object]]:
    assert main(["replay", *map(str, words), "--flows"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("name", [asked.FILE_NAME, health.FILE_NAME, ids.FILE_NAME, seed.FILE_NAME])
def test_a_damaged_file_is_an_error_and_stays_as_it_is(
    config: str, state: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (state / name).write_bytes(b"\x00rubbish")
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    for words in (["check", config], ["explain", config, FLOW.format("203.0.113.1")]):
        assert main([*words, "--state-dir", str(state)]) == 1
        assert f"{state / name}: damaged: must be" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in state.iterdir()} == before


def test_a_state_directory_that_is_not_there_is_told(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", config, "--state-dir", str(tmp_path / "no")]) == 1
    assert "there is no such directory" in capsys.readouterr().err
