"""Plain aligned tables for people, no wider than a terminal of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

WIDTH = 100
_GAP = "  "
_NARROWEST = 8


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    right: bool = False
    """Aligned to the right, as numbers are; such a column is never broken into lines."""


def render(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> str:
    """The rows under their titles, as text that ends with a newline.

    A row that would be wider than `WIDTH` breaks its widest cells into several lines.
    """
    cells = [[column.title for column in columns]]
    cells += [[str(cell) for cell in row] for row in rows]
    widths = _widths(columns, cells)
    lines = []
    for row in cells:
        broken = [_broken(cell, width) for cell, width in zip(row, widths, strict=True)]
        for parts in zip_longest(*broken, fillvalue=""):
            aligned = (
                part.rjust(width) if column.right else part.ljust(width)
                for part, width, column in zip(parts, widths, columns, strict=True)
            )
            lines.append(_GAP.join(aligned).rstrip())
    return "".join(f"{line}\n" for line in lines)


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    breakable = [i for i, column in enumerate(columns) if not column.right]
    too_wide = sum(widths) + len(_GAP) * (len(columns) - 1) - WIDTH
    while too_wide > 0 and breakable:
        widest = max(breakable, key=lambda i: widths[i])
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
        too_wide -= 1
    return widths


def _broken(cell: str, width: int) -> list[str]:
    return textwrap.wrap(cell, width) if len(cell) > width else [cell]
