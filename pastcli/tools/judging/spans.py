"""What a query gives, by the spans that say it: quoted texts, links, names, codes, numbers that count, and common words that stand
alone. Nothing here knows what an API does."""

from __future__ import annotations

import re
from functools import lru_cache

from .passing import IDENTITY
from .text import phrase, plain, words

_QUOTED = re.compile(r"(?<!\w)'((?:[^'\n]|(?<=\w)'(?=\w)){1,400})'(?!\w)|[\"“]([^\"”\n]{1,400})[\"”]")
_SPECIFIC = re.compile(
    r"(?<!\w)'(?P<single>(?:[^'\n]|(?<=\w)'(?=\w)){1,200})'(?!\w)|[\"“](?P<double>[^\"”\n]{1,200})[\"”]|(?P<link>\b(?:https?://|www\.)\S+|\b\S+@\S+\.\w+)"
    r"|(?<=\()(?P<bracket>[\w-]{2,12})(?=\))"
    r"|(?<![.!?]\s)(?<!^)(?<=[\s(])(?P<name>[A-Z][\w.&'-]*(?:\s(?:of|de|the|la)?\s?[A-Z][\w.&'-]*)*)|(?P<code>\b\w*\d[\w./:-]*)"
)


_MANY = frozenset("most best random unique different recent popular".split())
_UP_TO = frozenset("top last past next first limit maximum least most within every".split())


@lru_cache(maxsize=512)
def specifics(query: str) -> tuple[str, ...]:
    """What of a query can only be meant as itself: quoted texts, links, names inside sentences, whatever has a figure in it."""
    found = []
    for match in _SPECIFIC.finditer(query):
        text = next(value for value in match.groups() if value is not None).strip(" .,;:!?")
        text = text.removesuffix("'s").removesuffix("’s")
        if plain(text) not in ("i", "i'm", "i'd", "i've", "api", "apis", "id", "ids", "url", "json", "seo") and text:
            found.append(text)
    return tuple(found)


def is_specific(value: str, query: str) -> bool:
    """True if a value is part of a specific of the query, or holds one."""
    own = set(words(value))
    return any(own <= set(words(text)) or set(words(text)) <= own for text in specifics(query) if words(text))


def counts_things(text: str, span: tuple[int, int]) -> bool:
    """True if a number of a text says how many: "up to 10 images", "top 5"."""
    text = plain(text)
    before, after = words(text[max(span[0] - 24, 0) : span[0]])[-2:], words(text[span[1] :][:40])[:1]
    if before and before[-1] in IDENTITY:
        return False
    many = after and (
        after[0] in _MANY
        or (re.fullmatch(r"[^\W\d]{3,}s", after[0]) and after[0] not in ("has", "was", "its", "this", "yes"))
    )
    return bool(many) or (bool(before) and (before[-1] in _UP_TO or before == ("up", "to")))


def is_told_about(value: str) -> bool:
    """True for a code with words around it: "ticket R-4410 with two seats" is no ticket's number."""
    plainly = [word for word in value.split() if re.fullmatch(r"[a-z]{3,}", word)]
    return has_figure(value) and len(plainly) > 1


def stands_alone(value: str, query: str) -> bool:
    """True if a query gives a common word as a value of its own, between signs or behind "for": the country in "Quiet Harbour,
    in.", the genre in "with Reel Finder for 2018, family"."""
    return (
        plain(value) not in ("example", "instance", "free", "now", "me", "it", "this", "that", "these", "them")
        and re.search(rf"(?:[,:'\"“(]|\bfor)\s?{re.escape(value)}\s?(?:[,.;?'\"”)]|\Z)", query) is not None
    )


def has_figure(text: str) -> bool:
    return any(char.isdigit() for char in text)


def is_among_quoted(value: str, query: str) -> bool:
    """False if the query quotes texts, and this is none of them nor holds one: what is to be worked on is what was quoted."""
    quoted = [text for single, double in _QUOTED.findall(query) if (text := single or double) and len(words(text)) > 1]
    return not quoted or any(phrase(value) in phrase(text) or phrase(text) in phrase(value) for text in quoted)


def is_quoted_in(text: str, query: str) -> bool:
    """True if the query quotes this text as a whole."""
    return any(text in (single.strip(" .,;:!?"), double.strip(" .,;:!?")) for single, double in _QUOTED.findall(query))
