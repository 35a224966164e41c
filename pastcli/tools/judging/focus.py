"""What a question is after, where it does not call the field by its name: "how far" is a distance, "which provider" an `org`.

The fields of APIs have a small vocabulary, and questions another; this holds the two against each other. It only ever says
that an answer told something else: nothing is demanded of an answer that tells one field of those meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from .fact import LASTING, Fact
from .facts import Facts
from .text import plain, stem, words

_MEANT = (
    (
        r"how much (?:do|does|did|is|are|was|would|will|for|money|it|to|can)|what (?:does|do|did|would|will) \w+ cost|cost|price|fare|pay|expensive|cheap\w*",
        "price cost fare fee amount total charge rate value toll rent payment pay",
    ),
    (
        r"provider|isp|carrier|operator|network operator",
        "isp org organisation organization provider carrier operator company network asn",
    ),
    (r"who (?:wrote|writes)|author|writer|written by", "author writer by creator"),
    (r"who (?:sings?|sang|performs?|recorded)|singer|band|artist", "artist singer band performer by"),
    (r"directed|director", "director directed by"),
    (r"earns?|salary|wages?|income|paid a year|make a year", "salary wage income pay earnings compensation"),
    (
        r"when|what (?:day|date|time(?! ?zone)|year)|which (?:day|date|year)|at what time",
        "date time day at departure arrival start end year release released publish published open close begin born expire expiry due updated created eta from until sunrise sunset timestamp",
    ),
    (
        r"how (?:long|many minutes|many hours)|duration|runtime",
        "duration length runtime minutes hours time days seconds",
    ),
    (r"how far|distance", "distance km miles metres meters kilometres length"),
    (r"how (?:warm|hot|cold)|temperature", "temp temperature celsius fahrenheit degrees feels high low min max"),
    (
        r"how many (?:people|persons|guests)|serves?|feeds?|portions",
        "servings serves portions people persons guests capacity seats",
    ),
    (r"left|remaining|in stock", "available availability remaining left stock hand inventory quantity"),
    (r"how deep|depth", "depth deep"),
    (r"how (?:tall|high)|height|altitude|elevation", "height elevation altitude metres meters"),
    (r"how heavy|weight|weigh", "weight mass kg grams"),
    (r"how old|age", "age born birth year founded"),
    (r"how fast|speed", "speed kmh mph velocity wind knots"),
    (r"how many people live|population|inhabitants", "population inhabitants people residents"),
    (r"phone|telephone|call (?:them|him|her)", "phone telephone tel mobile number contact"),
    (r"e-?mail address|mail address", "email mail contact"),
    (r"web ?site|homepage|link|url", "url link website site homepage href web"),
    (r"what does \S+ mean|meaning|definition|define", "definition meaning definitions meanings sense text description"),
    (r"how well rated|rating|rated|stars", "rating score stars rate vote"),
    (r"time ?zone", "timezone zone tz offset utc"),
    (r"coordinates|latitude|longitude", "lat lon lng latitude longitude coordinates location"),
    (r"which (?:city|town)", "city town municipality place name location locality"),
    (r"which country", "country nation name location"),
)
"""(how a question puts it, what the field that answers it is called)."""


@lru_cache(maxsize=512)
def _questions(query: str) -> tuple[str, ...]:
    """The questions of a query, plain: what stands before a question mark or asks for something."""
    return tuple(
        plain(part)
        for part in re.split(r"(?<=[.?!])\s+|,\s+and\s+|\band (?=how|what|when|which|who|where)", query)
        if part.strip()
    )


@lru_cache(maxsize=512)
def _groups(query: str) -> tuple[frozenset[str], ...]:
    """For each field that a query is after, the stems of what it may be called."""
    found = []
    for question in _questions(query):
        for pattern, called in _MEANT:
            if re.search(rf"\b(?:{pattern})\b", question):
                found.append(frozenset(stem(word) for word in called.split()))
    return tuple(found)


def meant(facts: Facts, held: Iterable[Fact]) -> list[Fact]:
    """Those of some facts that the query is after by another name."""
    groups = _groups(facts.asked.text)
    return [fact for fact in held if any(_is_meant(fact, group) for group in groups)]


def _is_meant(fact: Fact, group: frozenset[str]) -> bool:
    """True if a field is called by a word of the group; the length of a day is no day."""
    return bool(group & set(fact.key)) and not (set(fact.key) & LASTING and not group & LASTING)


def unmet(facts: Facts, told: Iterable[Fact], done: bool = False) -> str:
    """The name of a field that one of several questions is after, if no value of any such field is told; ''. Where only one
    question is known by its words, nothing is demanded, unless something was to be `done` besides and is."""
    if facts.request is not None:  # it says outright what is asked
        return ""
    told, novel = set(told), facts.novel
    held = [[fact for fact in novel if _is_meant(fact, group)] for group in dict.fromkeys(_groups(facts.asked.text))]
    held = [own for own in held if own]
    met = [own for own in held if told & set(own)]
    return (held and (met or done) and next((own[0].name for own in held if not told & set(own)), "")) or ""


def restricted(facts: Facts, used: Iterable[Fact]) -> str:
    """What the query wants alone ("only the plan"), if an answer tells three other things; ''."""
    found = re.search(
        r"\b(?:only|just|nothing but)\s+(?:the|its|their|his|her)\s+((?:[\w-]+\s?){1,3})", plain(facts.asked.text)
    )
    if not found:
        return ""
    wanted = {stem(word) for word in words(found[1])}
    news = set(facts.novel)
    beside = {fact.key for fact in used if fact in news and not set(fact.key) & wanted and not meant(facts, [fact])}
    return found[1].strip() if len(beside) >= 3 else ""
