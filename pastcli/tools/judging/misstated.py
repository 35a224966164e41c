"""Values that stand in an answer and are not told by it: denied ("it is not 90"), or said under the name of another field
("the city is 90", where a city was observed and 90 is the price)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from functools import lru_cache

from .fact import Fact
from .facts import Facts
from .numbers import equal, numbers
from .text import STOPWORDS, phrase, plain, sentences, stem, words

_PIECES = re.compile(r";\s|,\s|\s[-–—]\s|\s(?:and|but|while|whereas|although|though|nor)\s")
_BINDS = re.compile(
    r"\A\W*(?:(?:and|but|so) )?(?:(?:the|its|his|her|their|your|a|an) )?(?P<name>[^:=]{1,60}?)(?::|\s=|\s(?:is|are|was|were)\b)\s*(?P<value>.+)",
    re.IGNORECASE,
)
"""A piece that says what a field is: "the price is 90", "price: 90"."""
_BINDS_TOO = re.compile(r"\b(?:is|are|was|were)\b|[^\W\d]:\s|\s=\s")
_BE = r"(?:\b(?:is|are|was|were|be|it's|that's)\s+(?:not|never)|\b(?:isn't|aren't|wasn't|weren't)|\b(?:does|do|did)(?:\s+not|n't)\s+(?:cost|have|weigh|last|equal)|\A\W*(?:no, )?not)"
_DENIES = re.compile(rf"{_BE}\s+(?:(?:at|in|on|by|for|called|named|a|an|the|exactly|actually|really|[$€£¥]|\W)\s*)*\Z")
"""What stands before a value that an answer denies. "Not only 90", "not before nine" deny nothing."""


def misstated(answer: str, used: Iterable[Fact], facts: Facts) -> set[Fact]:
    """Those of the facts that an answer repeats and does not tell: each time it says one, it denies it or gives it another
    field's name."""
    pieces = [piece for sentence in sentences(answer) for piece in _PIECES.split(sentence) if piece.strip()]
    bound = [_bound(piece, facts) for piece in pieces]
    odd = [
        n for n, piece in enumerate(pieces) if bound[n] or re.search(r"\bnot\b|n't\b|\bnever\b|\bbut\b", plain(piece))
    ]
    if not odd:
        return set()
    found: set[Fact] = set()
    for fact in used:
        if isinstance(fact.value, bool):
            continue
        said = [n for n, piece in enumerate(pieces) if _where(fact, piece) is not None]
        if (
            said
            and set(said) <= set(odd)
            and all(_is_denied(fact, pieces[n]) or _is_anothers(fact, bound[n], pieces[n], facts) for n in said)
        ):
            found.add(fact)
    return found


def _where(fact: Fact, piece: str) -> int | None:
    """Where a piece says a value, as it stands or as a number that equals it; None."""
    if fact.phrase.strip() and fact.phrase in phrase(piece):
        place = plain(piece).find(words(fact.text)[0])
        return place if place >= 0 else None
    for number in numbers(piece) if fact.numbers and not isinstance(fact.value, str) else ():
        if any(equal(number, known) for known in fact.numbers):
            return number.span[0]
    return None


def _is_denied(fact: Fact, piece: str) -> bool:
    place = _where(fact, piece)
    return place is not None and bool(_DENIES.search(plain(piece[:place])))


def _bound(piece: str, facts: Facts) -> tuple[str, ...]:
    """The observed field of which a piece says what it is; () for none. A piece that names two fields binds neither."""
    found = _BINDS.match(piece)
    if not found:
        return ()
    own = tuple(stem(word) for word in words(found["name"]) if word not in STOPWORDS)
    keys = {fact.key for fact in facts.facts}
    return own if own in keys and not _BINDS_TOO.search(found["value"]) else ()


def _is_anothers(fact: Fact, name: tuple[str, ...], piece: str, facts: Facts) -> bool:
    """True if a piece says a value under the name of a field that has other values, and no part of this name is the value's own."""
    if not name or set(name) & _family(fact):
        return False
    place = _where(fact, piece)
    behind = _BINDS.match(piece)
    if place is None or behind is None or place < behind.start("value"):
        return False
    return not any(other.key == name and _where(other, piece) is not None for other in facts.facts)


def _family(fact: Fact) -> Set[str]:
    """The stems of a field's name and of the objects that it lies in."""
    return _stems_of((*fact.record[1:], fact.name))


@lru_cache(maxsize=4096)
def _stems_of(place: tuple[str | int, ...]) -> frozenset[str]:
    return frozenset(stem(word) for part in place if isinstance(part, str) for word in words(part))
