"""What a text is made of: paragraphs, headings, code, tables. Readers know it, plain text does not say it.

The text of a document is plain; what its blocks are stands beside it as marks, offsets into that text, so that nothing in
the text can be taken for syntax. Everything that no mark covers is running text, its paragraphs apart by empty lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import sentences

HEADING, CODE, TABLE, TEXT = "heading", "code", "table", "text"
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_ENDED = re.compile(r"[.!?。！？।؟…][\"'”’»)]*$")


@dataclass(frozen=True)
class Block:
    """One block as a reader gives it. Code keeps its lines and their indentation, a table is a row a line, header first."""

    kind: str
    text: str


@dataclass(frozen=True)
class Mark:
    """What stands at `start` to `end` of a text."""

    kind: str
    start: int
    end: int


def table(rows: Iterable[Sequence[str]]) -> Block:
    """Rows of cells; white space inside a cell is single spaces."""
    lines = (" | ".join(" ".join(cell.split()) for cell in row) for row in rows)
    return Block(TABLE, "\n".join(line.strip() for line in lines if line.strip(" |")))


def joined(blocks: Iterable[Block]) -> tuple[str, tuple[Mark, ...]]:
    """(text, marks) of blocks, empty ones left out."""
    texts, marks, at = [], [], 0
    for block in blocks:
        text = block.text.strip("\n") if block.kind == CODE else block.text.strip()
        if not text.strip():
            continue
        if block.kind != TEXT:
            marks.append(Mark(block.kind, at, at + len(text)))
        texts.append(text)
        at += len(text) + 2
    return "\n\n".join(texts), tuple(marks)


def spans(text: str, marks: Sequence[Mark] = ()) -> Iterator[Mark]:
    """Every block of a text in order, paragraphs too, without the white space around them."""
    at = 0
    for mark in (*marks, Mark(TEXT, len(text), len(text))):
        start = at
        for gap in [*(match.span() for match in _PARAGRAPH.finditer(text, at, mark.start)), (mark.start, mark.start)]:
            piece = sentences.trim(text, start, gap[0])
            if piece:
                yield Mark(TEXT, *piece)
            start = gap[1]
        if mark.start < mark.end:
            yield mark
        at = mark.end


def within(marks: Iterable[Mark], start: int, end: int) -> tuple[Mark, ...]:
    """The marks of a part of the text, as offsets into it."""
    return tuple(
        Mark(mark.kind, max(mark.start, start) - start, min(mark.end, end) - start)
        for mark in marks
        if mark.start < end and mark.end > start
    )


def to_source(marks: Iterable[Mark]) -> dict[str, Any]:
    """Marks as a passage keeps them in its `source`."""
    found = [[mark.kind, mark.start, mark.end] for mark in marks]
    return {"blocks": found} if found else {}


def of_source(source: Mapping[str, Any], text: str) -> tuple[Mark, ...]:
    """The marks that a passage brings with it; none where they do not fit its text (which somebody has edited)."""
    found = source.get("blocks", [])
    try:
        marks = tuple(Mark(str(kind), int(start), int(end)) for kind, start, end in found)
    except (TypeError, ValueError):
        return ()
    at = 0
    for mark in marks:
        if (
            not at <= mark.start < mark.end <= len(text)
            or text[mark.start : mark.end].strip("\n") != text[mark.start : mark.end]
        ):
            return ()
        if text[max(0, mark.start - 1) : mark.start].strip() or text[mark.end : mark.end + 1].strip():
            return ()
        at = mark.end
    return marks


def is_heading(line: str) -> bool:
    """A few words without a full stop, figure or colon: states nothing by itself."""
    return len(line.split()) <= 6 and not re.search(r"[.!?:;。！？।؟…\d]", line)


def leads(text: str, block: Mark, following: Mark | None) -> bool:
    """Whether a block must not be parted from the one after it: a heading, or in unmarked text what looks like one."""
    if following is None or block.kind == HEADING:
        return following is not None
    line = text[block.start : block.end]
    after = text[following.start : following.end]
    return block.kind == TEXT and "\n" not in line and is_heading(line) and bool(_ENDED.search(after))
