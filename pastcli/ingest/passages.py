"""Long texts to passages, and passages to training texts (METHOD 3; the layout of SEAL, 2506.10943)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from ..api import Passage
from ..errors import UsageError
from . import blocks, sentences
from .blocks import Mark, is_heading

AUGMENTS = ("sentences", "none")

_ENDED = re.compile(r"[.!?。！？।؟…][\"'”’»)]*$")
_MARK = re.compile(r"^\s*(?:(?:[-*+•‣◦–—]|\(?\d{1,3}[.):]|\(?[a-z]\))\s+)+")
_BOLD = re.compile(r"(\*\*|__)(.+?)\1")
_CHATTER = re.compile(
    r"you are an? (?:ai|helpful)\b|as an ai\b|(?:certainly|sure|of course|absolutely|okay)\s*[!,.:]|let me know if\b|"
    r"(?:would you|if you(?:'d|’d| would)) like\b|if you (?:need|want)\b|(?:please|feel free)\b|"
    r"i hope (?:this|these)\b|(?:user|assistant|human|system)\s*:|let['’]?s (?:read|list|look)\b|"
    r"(?:list of )?implications$|#+\s|```|<\||.*:$",
    re.I,
)
"""What models say around a list, and headings inside it (anything that ends in a colon): no statements."""


def cut(text: str, max_chars: int, marks: Sequence[Mark] = ()) -> list[tuple[int, int]]:
    """Spans of passages of at most `max_chars` characters; only white space lies outside them.

    Cuts fall between blocks where possible, never right after a heading; else between sentences, lines of code and rows of a
    table; else words, else anywhere. Passages are filled evenly: 2,100 characters at a limit of 2,000 become two of about
    1,050, not 2,000 and 100.
    """
    units = _bound(list(_units(text, max_chars, marks)), max_chars)
    if not units:
        return []
    length = units[-1][1] - units[0][0]
    target = length / -(-length // max_chars)
    found = [units[0]]
    for start, end in units[1:]:
        first, last = found[-1]
        if end - first > max_chars or last - first >= target:
            found.append((start, end))
        else:
            found[-1] = (first, end)
    return found


def _bound(units: Iterable[tuple[int, int, bool]], limit: int) -> list[tuple[int, int]]:
    """The units with what leads (a heading) joined to what it leads to, as far as both fit."""
    found: list[tuple[int, int]] = []
    pending: tuple[int, int] | None = None
    for start, end, leading in units:
        if pending is not None and end - pending[0] <= limit:
            start = pending[0]
        elif pending is not None:
            found.append(pending)
        pending = (start, end) if leading else None
        if not leading:
            found.append((start, end))
    return [*found, pending] if pending is not None else found


def _units(text: str, limit: int, marks: Sequence[Mark]) -> Iterator[tuple[int, int, bool]]:
    """(start, end, whether it leads to the next) of the largest natural pieces that fit: blocks, else sentences or lines, words,
    characters. A block too large for the headings before it is taken to pieces, the first of which fits behind them."""
    found = list(blocks.spans(text, marks))
    first = -1
    for block, following in itertools.zip_longest(found, found[1:]):
        start, end = block.start, block.end
        first = first if first >= 0 else start
        leading = blocks.leads(text, block, following)
        if end - first <= limit:
            yield start, end, leading
        else:
            pieces = _lines if block.kind in (blocks.CODE, blocks.TABLE) else _smaller
            yield from ((a, b, False) for a, b in pieces(text, start, end, limit))
        first = first if leading and end - first <= limit else -1


def _lines(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    """Whole lines, with their indentation; only one that is longer than the limit is cut."""
    for line in re.finditer(r"[^\n]+", text[start:end]):
        a, b = start + line.start(), start + line.end()
        if not line.group().strip():
            continue
        if b - a <= limit:
            yield a, b
        else:
            yield from _words(text, a, b, limit)


def _smaller(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    for a, b in sentences.spans(text[start:end]):
        if b - a <= limit:
            yield start + a, start + b
        else:
            yield from _words(text, start + a, start + b, limit)


def _words(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    while end - start > limit:
        space = max(text.rfind(gap, start, start + limit + 1) for gap in " \n\t")
        stop = space if space > start else start + limit
        yield sentences.trim(text, start, stop) or (start, stop)
        start = stop
        while start < end and text[start].isspace():
            start += 1
    if start < end:
        yield start, end


def statements(completion: str) -> list[str]:
    """The implications in a model's answer, one a line: numbering, bullets and bold marks stripped.

    Empty lines and what the model said around its list ("Certainly! Here is ...:") are dropped.
    """
    lines = (_MARK.sub("", _BOLD.sub(r"\2", line)).strip() for line in completion.splitlines())
    return [line for line in lines if any(c.isalnum() for c in line) and not _CHATTER.match(line)]


def training_texts(passages: Sequence[Passage], augment: str = "sentences") -> list[str]:
    """The texts that SFT learns: each passage and each implication under its title, `Title\ntext`.

    SEAL trains on the raw passage and on every line of its implications, each prefixed with the title; with
    `augment="sentences"` every sentence of the passage is such a text too, which gives documents without
    implications the same many small views of one fact: a sentence with the heading it stands under, a row of a table with
    the table's first row, code as a whole. Each different text once, in order.
    """
    return [titled(title, text) for title, text in titles_and_texts(passages, augment)]


def titles_and_texts(passages: Sequence[Passage], augment: str = "sentences") -> list[tuple[str, str]]:
    """The same as (title, text under it)."""
    if augment not in AUGMENTS:
        raise UsageError(f"unknown augment {augment!r}", f"one of: {', '.join(AUGMENTS)}")
    found: list[tuple[str, str]] = []
    for passage in passages:
        if passage.kind == "implication":
            found += [(passage.title, line) for line in statements(passage.text)]
            continue
        marks = blocks.of_source(passage.source, passage.text)
        before = [str(passage.source.get(name) or "") for name in ("section", "table_head")]
        found.append((passage.title, under(*before, _flat(passage.text, marks))))
        if augment == "sentences":
            found += [(passage.title, line) for line in _views(passage.text, marks, *before)]
    once: dict[str, tuple[str, str]] = {}
    for one in found:
        once.setdefault(titled(*one), one)
    return list(once.values())


def borders(text: str) -> list[int]:
    """Where a training text may be cut: offsets at which a sentence or a line begins, 0 among them."""
    found, at = [], 0
    for line in text.split("\n"):
        found += [at, *(at + start for start, _ in sentences.spans(line)[1:])]
        at += len(line) + 1
    return found


def _views(text: str, marks: Sequence[Mark], section: str, table_head: str) -> Iterator[str]:
    """Every sentence, row and piece of code of a passage, under its heading."""
    for block in blocks.spans(text, marks):
        piece = text[block.start : block.end]
        if block.kind == blocks.HEADING:
            section = " ".join(piece.split())
        elif block.kind == blocks.CODE:
            yield under(section, piece)
        elif block.kind == blocks.TABLE:
            rows = piece.split("\n")
            head = table_head if block.start == 0 and table_head else rows.pop(0) if len(rows) > 1 else ""
            yield from (under(section, head, row) for row in rows)
        else:
            lines = (_MARK.sub("", line) for line in sentences.split(piece))
            yield from (under(section, line) for line in lines if line and not is_heading(line))


def titled(title: str, text: str) -> str:
    return f"{title}\n{text}" if title else text


def under(*lines: str) -> str:
    """Lines one under the other, empty ones left out."""
    return "\n".join(line for line in lines if line)


def _flat(text: str, marks: Sequence[Mark] = ()) -> str:
    """Paragraphs that end like sentences run on in one line; headings, items, rows and lines of code keep theirs."""
    lines: list[str] = []
    running = False
    for block in blocks.spans(text, marks):
        piece = text[block.start : block.end]
        line = piece if block.kind in (blocks.CODE, blocks.TABLE) else " ".join(piece.split())
        if running and block.kind == blocks.TEXT and _ENDED.search(lines[-1]) and not is_heading(line):
            lines[-1] += " " + line
        else:
            lines.append(line)
        running = block.kind == blocks.TEXT
    return "\n".join(lines)
