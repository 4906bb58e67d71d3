"""The page about the commands names every option and every JSON key, and none that is not there."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest

from classifier.commands import COMMANDS, main, parser
from classifier.engine.decision import REASONS
from classifier.lab.report import Promise, Report, Sent

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
GENERAL = PAGE[: PAGE.index("\n## ")]
CONFIG = """
[gateway]
lan = ["lan0"]
[uplinks.wired]
interface = "eth0"
capacity = "100mbit"
[uplinks.wired.health]
probe = "icmp"
targets = "192.0.2.1"
[balancers.all]
uplinks = "wired"
sticky = "remote"
[[rules]]
use = "all"
"""
FLOW = "tcp 192.168.1.5:40000 > 203.0.113.9:443 in lan0"
NAMED = {"uplinks", "balancers"}
"""Objects whose keys are names that the configuration gives."""


def command_parser(name: str) -> argparse.ArgumentParser:
    (subparsers,) = parser([name])._subparsers._group_actions  # type: ignore[union-attr]
    found = subparsers.choices[name]  # type: ignore[index]
    assert isinstance(found, argparse.ArgumentParser)
    return found


def section(name: str) -> tuple[str, str]:
    """The heading and the text of a command."""
    return next((head, text) for head, text in SECTIONS.items() if head.split()[0] == name)


def first_cells(text: str, head: str) -> list[str]:
    """What stands in backquotes in the first column of the table with that title, row by row."""
    (rows,) = re.findall(rf"^\| {head} \|.*\n\|---.*\n((?:\|.*\n?)*)", text, re.MULTILINE)
    cells = re.findall(r"^\| (.*?) \|", rows, re.MULTILINE)
    return [quoted for cell in cells for quoted in re.findall(r"`([^`]+)`", cell)]


def documented_keys(text: str, head: str = "key") -> set[str]:
    keys: list[str] = []
    for key in first_cells(text, head):
        keys.append(f"{keys[-1].rpartition('.')[0]}{key}" if key.startswith(".") else key)
    assert len(keys) == len(set(keys))
    return set(keys)


def real_keys(value: object, path: str = "") -> set[str]:
    """The paths of all values; objects in lists and under names count as one."""
    if isinstance(value, dict) and value:
        names = path.rpartition(".")[2] in NAMED
        parts = {("NAME" if names else key): inner for key, inner in value.items()}
        return set().union(
            *(real_keys(inner, f"{path}.{key}".strip(".")) for key, inner in parts.items())
        )
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(real_keys(element, f"{path}[]") for element in value))
    return {path}


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "gateway.toml"
    file.write_text(CONFIG)
    return str(file)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> object:
    assert main(arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_the_page_has_a_section_for_each_command_in_the_order_of_the_help() -> None:
    assert [head.split()[0] for head in SECTIONS] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_section_names_the_arguments_and_options_of_its_command(name: str) -> None:
    head, text = section(name)
    actions = command_parser(name)._actions
    general = set(re.findall(r"`(--?[a-z-]+)", GENERAL))
    options = {option for action in actions for option in action.option_strings}
    described = dict(words.partition(" ")[::2] for words in first_cells(text, "option"))
    assert set(described) == options - general
    for action in actions:
        for option in set(action.option_strings) & set(described):
            assert described[option] == (action.metavar or "")
    arguments = " ".join(
        f"[{action.metavar}]"
        if action.nargs == "?"
        else f"{action.metavar}..."
        if action.nargs == "+"
        else str(action.metavar)
        for action in actions
        if not action.option_strings
    )
    assert head == f"{name} {arguments}".strip()


def test_check_prints_the_keys_of_the_page(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert real_keys(printed(capsys, "check", config, "--json")) == documented_keys(
        section("check")[1]
    )


def test_explain_prints_the_keys_of_the_page(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = section("explain")[1]
    assert real_keys(printed(capsys, "explain", config, FLOW, "--json")) == documented_keys(text)
    (row,) = re.findall(r"^\| `reason` \|(.*)", text, re.MULTILINE)
    assert set(re.findall(r"`(.*?)`", row)) == set(REASONS) - {"in-flight"}


def test_replay_prints_the_keys_of_the_page(
    config: str, capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = section("replay")[1]
    said = printed(capsys, "replay", config, str(capture), "--json")
    assert real_keys(said) == documented_keys(text)
    flow = printed(capsys, "replay", config, str(capture), "--flows")
    assert real_keys(flow) == documented_keys(text, "key of a flow")


def test_simulate_prints_the_keys_of_the_page_and_those_of_replay(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = real_keys(printed(capsys, "simulate", config, "--flows", "10", "--json"))
    own = documented_keys(section("simulate")[1])
    assert not own & documented_keys(section("replay")[1])
    assert own < said
    assert said - own <= documented_keys(section("replay")[1])


def test_replay_against_another_file_prints_the_keys_of_the_page(
    config: str, capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = section("replay")[1]
    other = tmp_path / "other.toml"
    other.write_text(CONFIG.replace("wired", "fibre"))
    asked = ("replay", config, str(capture), "--against", str(other))
    said = printed(capsys, *asked, "--json")
    assert real_keys(said) - documented_keys(text) == documented_keys(text, "key of `--against`")
    flow = printed(capsys, *asked, "--flows")
    documented = documented_keys(text, "key of a flow")
    assert real_keys(flow) - documented == documented_keys(text, "key of a compared flow")


def test_lab_prints_the_keys_of_the_page() -> None:
    report = Report(("a",), (Sent("x", 1, {}, {}),), (Promise("x", True, "y"),), (), 1.0)
    assert real_keys(report.data()) == documented_keys(section("lab")[1])
