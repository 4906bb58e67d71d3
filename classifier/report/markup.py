"""HTML as text. What comes from outside goes through `text`, and never into a style or a link."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def text(value: object) -> str:
    """A value as the content of an element or of a quoted attribute.

    Control characters, which HTML has no way to write, become U+FFFD.
    """
    return html.escape(_CONTROL.sub("\ufffd", str(value)), quote=True)


def name(value: object) -> str:
    """A name that somebody chose: it may be of any script, and does not turn what is around it."""
    return f"<bdi>{text(value)}</bdi>"


@dataclass(frozen=True, slots=True)
class Head:
    """The title of a column."""

    title: str
    number: bool = True


def table(caption: str, heads: Sequence[Head], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; the first cell of a row is its title."""
    kinds = ["" if head.number else ' class="words"' for head in heads]
    titles = "".join(
        f'<th scope="col"{kind}>{text(head.title)}</th>'
        for head, kind in zip(heads, kinds, strict=True)
    )
    lines = []
    for first, *more in rows:
        cells = "".join(
            f"<td{kind}>{cell}</td>" for cell, kind in zip(more, kinds[1:], strict=True)
        )
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0"><table><caption>{text(caption)}</caption>'
        f"<thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def folded(summary: str, content: str) -> str:
    """What is shown only when it is asked for."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>"


def section(title: str, lead: str, content: str) -> str:
    """A part of the page; `title` is any text, `lead` and `content` are HTML."""
    return f"<section><h2>{name(title)}</h2><p>{lead}</p>{content}</section>"


def facts(numbers: Iterable[tuple[str, str]]) -> str:
    """Large numbers with small words, both HTML."""
    items = "".join(f"<li><b>{value}</b><span>{words}</span></li>" for value, words in numbers)
    return f'<ul class="facts">{items}</ul>'


def figure(caption: str, content: str) -> str:
    return f"<figure><figcaption>{caption}</figcaption>{content}</figure>"
