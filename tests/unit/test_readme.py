"""The pages are the first thing that is tried: what they show works as it stands there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from classifier.commands import COMMANDS, main, parser
from classifier.config import parse_policy
from classifier.config.advice import warnings

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
README = PAGES[0].read_text()
TARGETS = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
CHANGES_NOTHING = ("check", "explain", "replay", "simulate")


def blocks(language: str) -> list[str]:
    return [block for found, block in FENCE.findall(README) if found == language]


def commands() -> Iterator[tuple[str, ...]]:
    """Every `nfq-classifier ...` and `make ...` of the pages, in words."""
    for page in PAGES:
        text = page.read_text()
        lines = "\n".join(block for language, block in FENCE.findall(text) if not language)
        written = [*lines.splitlines(), *re.findall(r"^    \$ (.*)$", text, re.MULTILINE)]
        written += re.findall(r"`((?:nfq-classifier|make) [^`\n]+)`", FENCE.sub("", text))
        for line in written:
            if re.match(r"(sudo )?(nfq-classifier|make) ", line):
                words = shlex.split(line, comments=True)
                yield tuple(words[words[0] == "sudo" :])


SHOWN = sorted(set(commands()))


@pytest.fixture
def folder(tmp_path: Path, capture: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    for name in ("gateway.toml", "next.toml"):
        (tmp_path / name).write_text(blocks("toml")[0])
    assert capture == tmp_path / "capture.pcap"
    for day in ("monday.pcap", "tuesday.pcap"):
        shutil.copy(capture, day)
    return tmp_path


def test_the_gateway_in_five_lines_loads_and_has_five_lines() -> None:
    (text,) = blocks("toml")
    assert len(text.splitlines()) == 5
    policy = parse_policy(text, "README.md")
    assert warnings(policy) == ()
    assert [member.weight for member in policy.balancers[0].members] == [2, 1]


def test_every_command_is_shown() -> None:
    assert {words[1] for words in SHOWN if words[0] == "nfq-classifier"} == set(COMMANDS)


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_a_command_that_a_page_shows_is_one_that_there_is(words: tuple[str, ...]) -> None:
    if words[0] == "make":
        assert set(words[1:]) <= set(TARGETS)
    else:
        parser(words[1:]).parse_args(words[1:])  # raises UsageError


@pytest.mark.parametrize(
    "words",
    [w for w in SHOWN if w[1] in CHANGES_NOTHING and "gateway.toml" in w],
    ids=" ".join,
)
def test_a_command_of_the_readme_that_changes_nothing_does_what_it_says(
    words: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words[1:]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "wired" in said.out and "everything" in said.out


def test_the_python_of_the_readme_runs_as_it_stands(folder: Path) -> None:
    (program,) = blocks("python")
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "wired everything nth 256\n1 1.0\n10000 0.5716\n"


def heads(page: Path) -> set[str]:
    """The headings of a page as a link to one of them spells it."""
    return {
        re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-")
        for head in re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        name, _, head = target.partition("#")
        led_to = page.parent / name if name else page
        assert led_to.exists(), target
        assert not head or head in heads(led_to), target
