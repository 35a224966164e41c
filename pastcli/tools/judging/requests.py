"""The parts of a query: what it asks to be told, and what it only says of the call that is to be made.

"Get the minimum rating with List Movies. What is the page count?" wants a page count. The words by which a sentence names the
tool or its API name no field, where another sentence asks for one outright.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from .text import STOPWORDS, content, phrase, plain, stems, words

Key = tuple[str, ...]
_OUTRIGHT = re.compile(
    r"(?:(?:\A|[,:]\s?|\band\s|\bknow\s|\bme\s)(?:what(?:'s| is| are| was| were)|which)|\b(?:tell me|(?:to|wanna|gotta) know|i(?:'d like| would like| need| want)(?! to\b)|question about|give me|let me know|how (?:much|many|long|far|old|tall|high)))\b"
)
"""How a sentence begins to ask for something to be told."""
_ENDS = re.compile(
    r"\b(?:of|for|in|from|on|at|by|with|to|does|do|did|is|are|was|were|that|which|who|when|where|if|as|per|between|during)\b|[,.;:?!(]|\band\b"
)
_PLACES = {"first": 0, "1st": 0, "second": 1, "2nd": 1, "third": 2, "3rd": 2, "fourth": 3, "fifth": 4, "last": -1}
_PLACED = re.compile(
    rf"\bof the ({'|'.join(_PLACES)}) (?:entry|entries|result|item|element|one|row|record|hit|match)\b"
)
_SENTENCE = re.compile(r"(?<=[.?!;])\s+|\n+")


@dataclass(frozen=True)
class Request:
    """A query in parts: what it asks for `outright`, what it says `besides`, and what of this names the call (`means`)."""

    outright: str
    besides: str
    things: tuple[frozenset[str], ...]
    """The stems of each thing asked for outright: of "what is the first title of the list?" those of `first title`."""
    alone: bool
    """One thing is asked for, and by a sentence of its own: "What is the fare?", and not "Calculate my BMI and tell me the category"."""

    def fields(self, keys: Iterable[Key]) -> set[Key]:
        """Those of some fields that are asked for: of each thing the longest that it holds ("the birth name" is no `name`), and
        what is said word by word ("the created at")."""
        keys = set(filter(None, keys))
        said = f" {' '.join(stems(self.outright))} "
        spelled = {key for key in keys if len(key) > 1 and f" {' '.join(key)} " in said}
        found = [{key for key in keys if set(key) <= thing} for thing in self.things]
        asked = {key for held in found for key in held if not any(set(key) < set(other) for other in held)}
        if not spelled:
            return asked
        parts = {part for key in spelled for part in key}
        longest = {key for key in spelled if not any(set(key) < set(other) for other in spelled)}
        return longest | {key for key in asked if not set(key) <= parts}


def asks_outright(text: str) -> bool:
    """True if a text asks for something to be told."""
    return bool(_OUTRIGHT.search(plain(text)))


@lru_cache(maxsize=512)
def place_asked(query: str) -> int | None:
    """Which element of a list a query asks about ("of the first entry"): its index; None if it says no such thing."""
    found = {_PLACES[match[1]] for match in _PLACED.finditer(plain(query))}
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=512)
def request(query: str, calls: tuple[str, ...]) -> Request | None:
    """A query read for what it asks; None where nothing is asked outright, or nothing in it names one of the `calls` (the names
    of tools and APIs)."""
    outright, besides, means, own = [], [], False, True
    for sentence in _SENTENCE.split(query):
        found = _OUTRIGHT.search(plain(sentence)) if len(plain(sentence)) == len(sentence) else None
        before, after = (sentence[: found.start()], sentence[found.end() :]) if found else (sentence, "")
        if after:
            outright.append(plain(after))
            own = own and not words(before)
        if _names_one(before, calls):
            means = True
        else:
            besides.append(before)
    if not outright or not means:
        return None
    things = tuple(frozenset(stems(thing)) for text in outright for thing in _things(text))
    return Request(" ".join(outright), " ".join(besides), things, own and len(things) == 1)


def _things(text: str) -> Iterable[str]:
    """What is asked for, thing by thing: up to where a sentence says whose it is."""
    for part in re.split(r",\s(?:and\s)?|\band\b", text):
        thing = _ENDS.split(part.strip(), maxsplit=1)[0]
        if thing.strip():
            yield " ".join(word for word in words(thing) if word not in STOPWORDS)


def _names_one(text: str, calls: Iterable[str]) -> bool:
    """True if a text holds the whole name of a tool or an API."""
    said = phrase(text)
    return any(phrase(name) in said for name in calls if content(name))
