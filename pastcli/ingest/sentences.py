"""Sentence boundaries by rule: the same text gives the same sentences on every machine, with no model to load."""

from __future__ import annotations

import re

_BLOCK = re.compile(r"\n[ \t]*\n\s*|\n(?=[ \t]*(?:[-*•‣]|\d{1,3}[.)])[ \t])")
"""Between paragraphs, or before a list item: always a boundary."""

_END = re.compile(r"(?:[.!?…]+|[.!?…]*[。！？｡।۔؟])[\"'”’»)\]』」]*(?=\s)|[。！？｡][』」”’）]*")
"""A full stop and what closes with it. CJK stops need no space after them, all others do."""

_TITLES = frozenset(
    "mr mrs ms mx dr prof rev hon st mt capt lt col sgt maj cmdr adm gov sen messrs mme mlle e.g i.e".split()
)
"""Abbreviations that a sentence does not end with."""

_SHORT = frozenset(
    """cf viz vs ca approx resp al ed eds trans dept univ assn bros ft gen rep pres jr sr inc ltd co corp
    jan feb mar apr jun jul aug sept sep oct nov dec mon tue wed thu fri""".split()
)
"""Abbreviations that end a sentence only if a word like `The` follows."""

_BEFORE_NUMBER = frozenset("no nos nr art p pp pg para op cap v fig figs eq eqs sec ch vol vols".split())
"""Abbreviations only where a number follows: `No. 5`, `p. 12`."""

_STARTERS = frozenset(
    """the a an it he she they we i you this that these those there then in on at by for from with after before
    when while if but and or so however his her its their our my as to what who where why how one some many most
    no not all both each since although because during under over today later now""".split()
)
"""Words that, capitalised after `U.S.` or `Plan B.`, begin a new sentence rather than go on with a name."""

_INITIALS = re.compile(r"[A-ZÀ-ÞА-Я]|(?:[A-Za-z]\.)+[A-Za-z]")
_WORD_BEFORE = re.compile(r"[\w.&'’-]*$")
_WORD_AFTER = re.compile(r"\s*[\"'“‘«(\[¿¡]*(\w*)")


def spans(text: str) -> list[tuple[int, int]]:
    """Where sentences stand: (start, end) pairs in order, covering every character that is not white space."""
    found = []
    start = 0
    for cut in [*(match.span() for match in _BLOCK.finditer(text)), (len(text), len(text))]:
        found += _in_block(text, start, cut[0])
        start = cut[1]
    return found


def split(text: str) -> list[str]:
    """The sentences of a text, each on one line with single spaces."""
    return [" ".join(text[start:end].split()) for start, end in spans(text)]


def _in_block(text: str, start: int, end: int) -> list[tuple[int, int]]:
    pieces = []
    for match in _END.finditer(text, start, end):
        if match.end() < end and _is_boundary(text, match, start, end):
            pieces.append((start, match.end()))
            start = match.end()
    pieces.append((start, end))
    return [trimmed for piece in pieces if (trimmed := trim(text, *piece))]


def trim(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The span without white space at its ends; None if nothing is left."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return (start, end) if start < end else None


def _is_boundary(text: str, match: re.Match[str], start: int, end: int) -> bool:
    after = _WORD_AFTER.match(text, match.end(), end)
    following = after.group(1) if after else ""
    if following[:1].islower():  # "Stop!" he said; approx. five
        return False
    if match.group()[0] != "." or match.group().startswith(".."):
        return True
    before = _WORD_BEFORE.search(text, max(start, match.start() - 40), match.start())
    word = before.group().lstrip("'’-.&") if before else ""
    if word.lower() in _TITLES:
        return False
    if word.lower() in _BEFORE_NUMBER:
        return not following[:1].isdigit()
    if word.isdigit() and text[start : match.start()].strip() == word:  # the number of a list item: "3. Pears"
        return False
    if word.lower() in _SHORT or (len(word) <= 8 and _INITIALS.fullmatch(word)):  # J. K. Rowling, U.S. Army
        return following.lower() in _STARTERS
    return True
