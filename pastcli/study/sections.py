"""One document taken for several: its own parts, so that a study can be made of a single manual.

A part is a run of passages in their order, from about one heading to another. Parts of one document share its words and may
say a thing twice, so what is measured on them is told of that document alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..api import Passage
from ..errors import UsageError
from ..ingest import blocks
from ..words import counted

PARTS = 12
"""Parts of a long document: enough to measure over, few enough that most of a subject stays within one of them."""

FEWEST = 4
"""Parts that a study takes: one to practise on, two to measure on, one that chooses the scale."""

SHORTEST = 500
"""Characters of a passage below which a document is not cut for the sake of having more of them."""

LEAST = 100
"""Characters that a passage cut at a heading keeps on either side."""

NAME = 48
"""Characters of a heading that the name of its part shows."""


def alone(passages: Sequence[Passage]) -> str:
    """The name of the document, if they are all of one; '' if there are several."""
    names = {passage.doc for passage in passages}
    return names.pop() if len(names) == 1 else ""


def length(passages: Sequence[Passage], longest: int) -> int:
    """How long the passages of a document that is studied alone may be: `longest`, or less where it is short."""
    whole = sum(len(passage.text) for passage in passages)
    return longest if len(passages) >= PARTS else min(longest, max(SHORTEST, whole // PARTS))


def parted(passages: Sequence[Passage]) -> list[Passage]:
    """The passages of one document, each named by the part it is in, and cut where a part begins at a heading within it.

    Raises `UsageError` if the document is too short.
    """
    if len(passages) < FEWEST:
        characters = sum(len(passage.text) for passage in passages)
        raise UsageError(
            f"{passages[0].doc} is too short to be divided into what is practised on, learnt and measured: it has "
            f"{counted(characters, 'characters')}, which make {len(passages)} of the {FEWEST} parts that this takes",
            f"about {FEWEST * SHORTEST:,} characters are needed, in one document or in several; or a skill made before: "
            "--vector FILE",
        )
    begins = _begins(passages)
    end = Place(len(passages), 0, 0)
    found = []
    for number, (first, last) in enumerate(pairwise([*begins, end]), 1):
        name = _name(passages[first.passage], first, number)
        found += [replace(one, doc=name) for one in _between(passages, first, last)]
    return found


@dataclass(frozen=True)
class Place:
    """Where a part may begin: at an offset into a passage, so many characters into the document, with a heading or without."""

    passage: int
    offset: int
    before: int
    heading: str = ""


def _places(passages: Sequence[Passage]) -> Iterator[Place]:
    """The beginning of each passage, and of each section within one."""
    before = 0
    for number, passage in enumerate(passages):
        leading, text = False, passage.text
        for block in blocks.spans(text, blocks.of_source(passage.source, text)):
            heading = text[block.start : block.end] if block.kind == blocks.HEADING else ""
            inside = heading and not leading and LEAST <= block.start <= len(text) - LEAST
            if inside or block.start == 0:
                yield Place(number, block.start, before + block.start, heading)
            leading = bool(heading)
        before += len(text)


def _begins(passages: Sequence[Passage]) -> list[Place]:
    """Where the parts begin: parts of about the same length, at a heading where one is near."""
    places = list(_places(passages))
    parts = min(PARTS, len(passages))
    even = sum(len(passage.text) for passage in passages) / parts
    found = [0]
    for part in range(1, parts):

        def far(at: int, wanted: float = part * even) -> float:
            return abs(places[at].before - wanted) + (0 if places[at].heading else even / 3)

        found.append(min(range(found[-1] + 1, len(places) - parts + part + 1), key=far))
    return [places[at] for at in found]


def _between(passages: Sequence[Passage], first: Place, last: Place) -> Iterator[Passage]:
    for number in range(first.passage, min(last.passage + 1, len(passages))):
        passage = passages[number]
        start = first.offset if number == first.passage else 0
        end = last.offset if number == last.passage else len(passage.text)
        if start < end:
            yield passage if end - start == len(passage.text) else _piece(passage, start, end)


def _piece(passage: Passage, start: int, end: int) -> Passage:
    """A part of a passage, its marks and its place in the file with it."""
    text = passage.text[start:end].rstrip()
    kept = {key: value for key, value in passage.source.items() if key not in ("blocks", "chars")}
    if start:  # it begins with a heading of its own
        kept = {key: value for key, value in kept.items() if key not in ("section", "table_head")}
    marks = blocks.within(blocks.of_source(passage.source, passage.text), start, start + len(text))
    at = passage.source.get("chars")
    place = {"chars": [at[0] + start, at[0] + start + len(text)]} if isinstance(at, list) else {}
    name = f"{passage.id}.{start}" if start else passage.id
    return replace(passage, id=name, text=text, source={**kept, **place, **blocks.to_source(marks)})


def _name(passage: Passage, begin: Place, number: int) -> str:
    """`manual 03 Installing`: by the heading it begins with or under, else by its page, else by its number alone."""
    heading = " ".join((begin.heading or str(passage.source.get("section") or "")).split())[:NAME].strip(" ,.:;")
    pages = passage.source.get("pages")
    where = heading or (f"from page {pages[0]}" if isinstance(pages, list) and pages else "")
    return f"{passage.doc} {number:02} {where}".strip()
