"""Plain aligned tables and paragraphs for people, as wide as the terminal allows."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len, chop_cells

PIPE_WIDTH = 100
"""Columns if the output is not a terminal, so that it is the same everywhere."""
_GAP = "  "
_NARROWEST = 8


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    right: bool = False
    """Aligned to the right, as numbers are; such a column is never broken into lines."""


def output_width() -> int:
    """Columns of the terminal on standard output, or `PIPE_WIDTH` if it is not a terminal."""
    if sys.stdout is not None and sys.stdout.isatty():
        return shutil.get_terminal_size((PIPE_WIDTH, 24)).columns
    return PIPE_WIDTH


def render(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> str:
    """The rows under their titles, as text that ends with a newline.

    A row that would be wider than `output_width()` breaks its widest cells into several lines.
    """
    cells = [[column.title for column in columns]]
    cells += [[str(cell) for cell in row] for row in rows]
    widths = _widths(columns, cells)
    lines = []
    for row in cells:
        broken = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
        for parts in zip_longest(*broken, fillvalue=""):
            aligned = (
                _aligned(part, width, column.right)
                for part, width, column in zip(parts, widths, columns, strict=True)
            )
            lines.append(_GAP.join(aligned).rstrip())
    return "".join(f"{line}\n" for line in lines)


def paragraph(lead: str, text: str) -> str:
    """`text` behind `lead`, with the lines after the first indented as far as `lead` is long."""
    indent = cell_len(lead)
    width = max(output_width() - indent, _NARROWEST)
    first, *more = _wrapped(text, width)
    return "".join(f"{line}\n" for line in (lead + first, *(" " * indent + part for part in more)))


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    widths = [max(cell_len(row[i]) for row in cells) for i in range(len(columns))]
    breakable = [i for i, column in enumerate(columns) if not column.right]
    too_wide = sum(widths) + len(_GAP) * (len(columns) - 1) - output_width()
    while too_wide > 0 and breakable:
        widest = max(breakable, key=lambda i: widths[i])
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
        too_wide -= 1
    return widths


def _aligned(text: str, width: int, right: bool) -> str:
    """`text` filled up to `width` terminal cells; East Asian letters take two of them."""
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks


def _wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` terminal cells, broken at blanks if possible."""
    if cell_len(text) <= width:
        return [text]
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width:
            lines[-1] = joined
            continue
        pieces = [piece for piece in chop_cells(word, width) if piece]
        lines = [line for line in (*lines, *pieces) if line]
    return lines
