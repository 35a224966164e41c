"""The wrong end of a superlative: who is said to be the cheapest, tallest or first, and is not by what was observed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from .claims import mentions
from .fact import Fact, Place
from .facts import Facts
from .tables import NAMING
from .text import clauses, phrase, plain

_MONEY, _LONG = (
    r"pric|far|cost|amount|rat|fee|total|(?:nok|sek|dkk|eur|usd|gbp|chf|jpy)\Z",
    r"minut|duration|hour|second|tim|length|runtim",
)
_SUPERLATIVES: tuple[tuple[str, str, Callable[..., float]], ...] = (
    (r"cheap(?:est|er)|lowest price|lower price|less expensive|least expensive|lowest fare|best price", _MONEY, min),
    (r"most expensive|more expensive|dearest|dearer|priciest|pricier|highest price", _MONEY, max),
    (
        r"best|best[ -]rated|better rated|highest rated|rated best|best rating|highest rating|top rated|rated highest|highest score",
        r"rat|scor|star",
        max,
    ),
    (r"next|earliest|soonest", r"dep|tim|start", min),
    (r"worst rated|lowest rated|lowest rating", r"rat|scor|star", min),
    (r"fast(?:est|er)|quick(?:est|er)|short(?:est|er)", r"minut|duration|hour|second|tim", min),
    (r"longest|longer", _LONG, max),
    (r"nearest|closest|nearer|closer", r"distanc|km|mil|meter|metr", min),
    (r"tall(?:est|er)|highest(?! (?:price|rat|score))", r"height|elevation|altitud", max),
    (r"newest|newer|most recent|latest", r"year|releas|publish", max),
    (r"oldest", r"year|releas|publish|found", min),
    (r"larg(?:est|er)|bigg(?:est|er)|most populous|m(?:ost|ore) (?:people|inhabitants)", r"populat|inhabitant|area|siz", max),
    (r"small(?:est|er)|fewe(?:st|r) (?:people|inhabitants)|least populous", r"populat|inhabitant|area|siz", min),
    (r"heav(?:iest|ier)", r"weight|mass", max),
    (r"light(?:est|er)", r"weight|mass", min),
    (r"warm(?:est|er)|hott(?:est|er)", r"temp|max|high", max),
    (r"cold(?:est|er)|cool(?:est|er)", r"temp|min|low", min),
    (r"won|winner|winning|first place|came first|champion", r"pos|position|rank|plac", min),
    (r"won|winner|winning|first place|came first|most votes|leads?", r"vot|point|scor", max),
    (r"most popular|most (?:viewed|watched|followers|listeners)", r"popular|view|follower|listener", max),
)  # fmt: skip
"""(what is said, the stems of the field it is about, which end it means)."""
_THAN = re.compile(r"\b(?:than|against|versus|vs|compared|ahead of|before)\b")


def wrong_end(answer: str, facts: Facts) -> str:
    """What the answer to "the cheapest" (longer, best rated, …) is, if the answer names another record; else ''.

    A clause that says the superlative of one record is taken at its word; an answer without such a clause by all it names.
    """
    asked, said = plain(facts.asked.text), plain(answer)
    for pattern, field, pick in _SUPERLATIVES:
        if not re.search(rf"\b(?:{pattern})\b", asked) and not re.search(rf"\b(?:{pattern})\b", said):
            continue
        held = {place: _field(fields, field) for place, fields in facts.records.items()}
        valued = {place: value for place, value in held.items() if value is not None}
        for around in {place[:-1]: None for place in valued}:
            row = {place: value for place, value in valued.items() if place[:-1] == around}
            best = pick(row.values())
            named = _claimed(answer, pattern, facts, list(row)) or _named(answer, facts, row) if len(row) > 1 else []
            if named and not any(row[place] == best for place in named):
                return _name(facts, (place for place, value in row.items() if value == best)) or str(best)
    return ""


def _claimed(answer: str, pattern: str, facts: Facts, places: Sequence[Place]) -> list[Place]:
    """The record of which a clause says the superlative: the only one that it tells of, or the first beside "than"."""
    for clause in clauses(answer):
        said = plain(clause)
        if not re.search(rf"\b(?:{pattern})\b", said) or re.search(r"\bnot\b|n't\b|\?", said):
            continue
        told = {place: _first(clause, facts, place, places) for place in places}
        found = sorted((where, place) for place, where in told.items() if where is not None)
        if len(found) == 1 or (found and _THAN.search(said)):
            return [found[0][1]]
    return []


def _first(clause: str, facts: Facts, place: Place, places: Iterable[Place]) -> int | None:
    """Where a clause first tells something that only this record of them has: a text, a price, a time."""
    others = [fact for other in places if other != place for fact in facts.records[other]]
    texts = {fact.phrase for fact in others}
    said = phrase(clause)
    found = []
    for fact in facts.records[place]:
        if isinstance(fact.value, str) and fact.phrase.strip() and fact.phrase not in texts and fact.phrase in said:
            found.append(said.index(fact.phrase))
        elif (
            isinstance(fact.value, float) and fact.text in clause and fact.text not in {other.text for other in others}
        ):
            found.append(clause.index(fact.text))
    return min(found, default=None)


def _named(answer: str, facts: Facts, places: Iterable[Place]) -> list[Place]:
    answered = phrase(answer)
    return [p for p in places if any(_is_name(fact) and mentions(answered, fact) for fact in facts.records[p])]


def _name(facts: Facts, places: Iterable[Place]) -> str:
    return next((fact.text for place in places for fact in facts.records[place] if _is_name(fact)), "")


def _is_name(fact: Fact) -> bool:
    return isinstance(fact.value, str) and bool(set(fact.key) & NAMING)


def _field(fields: Sequence[Fact], pattern: str) -> float | None:
    for fact in fields:
        if any(re.match(rf"(?:{pattern})", part) for part in fact.key):
            days = [date.whole for date in fact.dates if date.whole]
            if days:
                return float(days[0].toordinal())
            if fact.numbers:
                return fact.numbers[0].value
            if fact.clocks and not fact.dates:
                return float(min(fact.clocks[0].minutes))
    return None
