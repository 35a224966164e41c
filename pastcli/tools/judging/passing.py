"""What an observed value may be used for. It was observed as something (`carriers[0].id`), and is that something still: the id of
a carrier is no tracking number, a description no region, and a status no domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from .text import STOPWORDS, stem, words

IDENTITY = frozenset(
    "id ids pk uuid guid code number key ref reference token sku isbn ean upc asin imei vin barcode iban slug".split()
)
"""Words of what a thing is called by machines."""

FREE = frozenset(
    "text content message body prompt sentence input html markdown comment description question q query search keyword keywords term phrase string document".split()
)
"""Words of what may hold any text."""

PLAIN = frozenset("name title label value text result string word symbol".split())
"""Words that say nothing of what is named."""

_PLACES = frozenset(map(stem, "city town village place location address municipality capital area destination".split()))
"""What one place is called by several tools."""

_NOT_IDS = frozenset(
    "valid paid unpaid android void fluid rapid solid hybrid covid kid grid bid humid acid avoid liquid said aid".split()
)

CONTAINERS = frozenset(
    map(
        stem,
        "data results response items list entries records rows values output payload body content object all docs hits".split(),
    )
)


@lru_cache(maxsize=8192)
def named(*spellings: str) -> frozenset[str]:
    """The words of a name in all its spellings; `newspaperid` and `newspaperId` have the word `id`."""
    found = {word for text in spellings for word in words(text)}
    if any(len(word) > 3 and word.endswith(("id", "ids")) and word not in _NOT_IDS for word in found):
        found.add("id")
    return frozenset(found)


def observed(value: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """The texts, numbers and booleans inside a JSON value, each with the keys that lead to it."""
    pending: list[tuple[Any, tuple[str, ...]]] = [(value, ())]
    while pending:
        item, path = pending.pop()
        if isinstance(item, dict):
            pending.extend((inner, (*path, str(key))) for key, inner in reversed(item.items()))
        elif isinstance(item, list):
            pending.extend((inner, path) for inner in reversed(item))
        elif item is not None and item != "":
            yield item, path


@lru_cache(maxsize=65536)
def passes_as(path: tuple[str, ...], name: frozenset[str]) -> bool:
    """True if what was observed at `path` may be given to a parameter of this name (`named`)."""
    if not path or name & FREE:
        return True
    last, around = named(path[-1]), frozenset(stem(word) for key in path[:-1] for word in words(key)) - CONTAINERS
    own, wanted = _meaning(last), _meaning(name)
    if _alike(own, wanted) or _run_together(last, name) or (own & _PLACES and wanted & _PLACES):
        return True
    if bool(last & IDENTITY) != bool(name & IDENTITY):
        return bool(last & IDENTITY) and _alike(around, wanted)
    near = not around or not wanted or _alike(around, wanted)
    return near and (bool(last & IDENTITY) or bool(last & PLAIN))


def _meaning(name: Iterable[str]) -> frozenset[str]:
    return frozenset(
        stem(word) for word in name if word not in IDENTITY and word not in PLAIN and word not in STOPWORDS
    )


def _alike(some: Iterable[str], others: frozenset[str]) -> bool:
    """True if two stems are the same but for their last letter: `movi` of movie, `movy` of movies."""
    sizes = ((a, b, max(3, min(len(a), len(b)) - 1)) for a in some for b in others)
    return any(a[:size] == b[:size] and size <= min(len(a), len(b)) for a, b, size in sizes)


def _run_together(one: Iterable[str], other: Iterable[str]) -> bool:
    """True if two names are the same but for where their words end: `imdbid` and `imdb_id`."""
    a, b = ("".join(sorted(name - {"id"}, key=len, reverse=True)) for name in (frozenset(one), frozenset(other)))
    return min(len(a), len(b)) >= 4 and (a in b or b in a)
