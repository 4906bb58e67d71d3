"""Tables stay readable: aligned, and no wider than 100 columns whatever is in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from classifier.commands.table import WIDTH, Column, render


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


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200)


@given(st.lists(st.tuples(words, words, st.integers(0, 10**9)), max_size=5))
def test_no_table_is_wider_than_a_terminal_and_none_loses_text(
    rows: list[tuple[str, str, int]],
) -> None:
    text = render([Column("one"), Column("two"), Column("three", right=True)], rows)
    assert all(len(line) <= WIDTH for line in text.splitlines())
    for row in rows:
        for character in set("".join(map(str, row))):
            assert character in text
