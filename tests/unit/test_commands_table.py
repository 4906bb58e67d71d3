"""Tables stay readable: aligned, and no wider than the terminal whatever is in them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from classifier.commands.table import PIPE_WIDTH, Column, paragraph, render

CONFIG = """
[uplinks.wired]
interface = "eth0"
[[rules]]
name = "a rule with a long name that goes on and on for quite a while"
to = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8:1234:5678::/64"]
use = "wired"
"""


def test_numbers_align_to_the_right_and_words_to_the_left() -> None:
    text = render([Column("uplink"), Column("flows", right=True)], [("wired", 7), ("w", 123456)])
    assert text == "uplink   flows\nwired        7\nw       123456\n"


def test_no_rows_leave_the_titles() -> None:
    assert render([Column("a"), Column("b")], []) == "a  b\n"


def test_a_cell_too_wide_goes_on_below_itself() -> None:
    text = render([Column("n", right=True), Column("what"), Column("z")], [(1, "word " * 30, "q")])
    assert text.splitlines() == [
        "n  what" + " " * 92 + "z",
        "1  " + " ".join(["word"] * 19) + "  q",
        "   " + " ".join(["word"] * 11),
    ]


def test_east_asian_letters_take_two_cells_and_stay_aligned() -> None:
    text = render([Column("rule"), Column("flows", right=True)], [("東京", 7), ("office", 12)])
    assert text == "rule    flows\n東京        7\noffice     12\n"


def test_a_long_name_without_blanks_breaks_between_wide_letters() -> None:
    text = render([Column("rule"), Column("flows", right=True)], [("東" * 60, 7)])
    assert text.splitlines()[1:] == ["東" * 46 + "       7", "東" * 14]


def test_a_paragraph_goes_on_under_its_text() -> None:
    assert paragraph("warning: ", "word " * 20) == (
        "warning: " + " ".join(["word"] * 18) + "\n         word word\n"
    )


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_a_terminal_gets_tables_as_wide_as_it_is(columns: int, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(CONFIG)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "classifier", "check", str(file)]
    done = subprocess.run(command, stdout=theirs, env=environment, timeout=60, check=False)
    os.close(theirs)
    shown = b""
    while piece := _read(ours):
        shown += piece
    os.close(ours)
    assert done.returncode == 0
    rules = shown.decode().replace("\r\n", "\n").split("\n\n")[2]
    widest = max(map(len, rules.splitlines()))
    assert columns - 20 < widest <= columns


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


words = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x9FFF, categories=("L", "N", "P", "S")),
    min_size=1,
    max_size=200,
)


@given(st.lists(st.tuples(words, words, st.integers(0, 10**9)), max_size=5))
def test_no_table_is_wider_than_a_terminal_and_none_loses_text(
    rows: list[tuple[str, str, int]],
) -> None:
    text = render([Column("one"), Column("two"), Column("three", right=True)], rows)
    assert all(cell_len(line) <= PIPE_WIDTH for line in text.splitlines())
    for row in rows:
        for character in set("".join(map(str, row))):
            assert character in text
