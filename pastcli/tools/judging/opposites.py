"""Words for and against: open and closed, safe and dangerous; and texts that an answer turns into their opposite."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .fact import Fact
from .text import clauses, phrase, plain, stem, stems

OPPOSITES = (
    ("safe", "unsafe|dangerous|unhealthy|hazardous|harmful|malicious|risky"),
    ("dry|rain-free|clear|sunny|clear sky|clear skies", "rain|rainy|raining|showers?|drizzle|wet"),
    ("normal|normal weight|normal range", "overweight|obese|underweight|abnormal|elevated"),
    ("mobile|cell|cellular", "landline|fixed line|voip"),
    ("alive|living", "dead|deceased|died"),
    ("public", "private"),
    ("indoor|indoors", "outdoor|outdoors"),
    ("married", "unmarried|single|divorced|widowed"),
    ("passed|approved|accepted|adopted", "rejected|defeated|declined|denied|refused"),
    (
        "available|in stock|vacant|bookable",
        "unavailable|sold out|out of stock|booked|fully booked|taken|on loan|lent|checked out|rented out",
    ),
    ("open|opened|reopen|reopens|reopened", "closed|shut"),
    ("delayed|late|behind schedule|running late|delay", "on time|on schedule|punctual|punctually|no delay|early"),
    ("valid|genuine", "invalid|fake"),
    (
        r"active|enabled|on(?! \w)|(?:is|are|now|turned|switched) on",
        r"inactive|disabled|off(?! \w)|(?:is|are|now|turned|switched) off",
    ),
    ("healthy|up|ok|operational|running|online|fine|working", "unhealthy|down|offline|broken|failing"),
    ("delivered", "in transit|pending|processing|on its way|out for delivery|on the way|en route|undelivered"),
    ("shipped|dispatched|sent", "unshipped"),
    ("stable|final release", "prerelease|pre-release|alpha|beta|unstable|nightly|release candidate"),
    ("success|successful|succeeded|passed|pass|passes", "failure|failed|unsuccessful|fail|fails"),
    ("free", "paid|occupied"),
    ("true|yes", "false|no"),
    ("required|necessary|needed|need|needs|mandatory", "optional|unnecessary"),
    ("exist|exists|found|registered|taken", "nonexistent|missing|unregistered"),
    ("disposable|temporary|throwaway", "permanent"),
)
SPELLED_OUT = 20
"""Pairs of which one word alone as a value tells which it is; of the others, a value is rather what something is called."""
NEGATED = re.compile(
    r"\b(not|no|none|never|neither|nor|without|isn't|aren't|wasn't|weren't|don't|doesn't|didn't|hasn't|haven't|can't|cannot|won't|yet to|hardly|nothing|nobody|zero)\b|n't\b|\b0\b(?![.,:]\d)"
)


def phrases(key: tuple[str, ...]) -> tuple[str, str]:
    """The words for and against a field, as alternations; its own name is among those for it."""
    for positive, negative in OPPOSITES:
        if len(key) > 1 and key in {tuple(stems(text)) for text in negative.split("|")}:
            return negative, positive
    for positive, negative in OPPOSITES:
        if set(key) & {stem(word) for word in re.findall(r"\w+", positive)} and len(key) <= 3:
            return positive, negative
    for positive, negative in OPPOSITES:
        if key in {tuple(stems(text)) for text in negative.split("|")}:
            return negative, positive
    return "", ""


def is_spoken_of(key: tuple[str, ...]) -> bool:
    """True if there are words for and against a field: what is `free` is or is not."""
    return bool(phrases(key)[0])


def says(alternatives: str, text: str) -> re.Match[str] | None:
    return re.search(rf"\b(?:{alternatives})\b", plain(text)) if alternatives else None


def reversed_texts(answer: str, used: Iterable[Fact]) -> list[str]:
    """Texts that an answer tells in its own words and turns into the opposite: the port that reopens "remains closed"."""
    wrong = []
    told = [fact for fact in used if isinstance(fact.value, str) and 3 <= len(fact.content) <= 40]
    for fact in told:
        if fact.phrase in phrase(answer):
            continue
        for positive, negative in OPPOSITES:
            sides = [bool(says(side, fact.text)) for side in (positive, negative)]
            if sum(sides) != 1 or NEGATED.search(plain(fact.text)):
                continue
            own, other = (positive, negative) if sides[0] else (negative, positive)
            for clause in clauses(answer):
                held = set(fact.content) & set(stems(clause))
                if (
                    len(held) >= 2
                    and says(other, clause)
                    and not says(own, clause)
                    and not NEGATED.search(plain(clause))
                ):
                    wrong.append(fact.text[:40])
    return wrong


def says_either(question: str, answer: str) -> bool:
    """True if an answer says one of two opposites of which a question asks: it failed, to "did it pass"."""
    for positive, negative in OPPOSITES:
        if says(positive, question) or says(negative, question):
            return bool(says(positive, answer) or says(negative, answer))
    return False
