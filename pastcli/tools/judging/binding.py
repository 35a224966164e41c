"""Values bound to the wrong thing: to another field than a clause names, or to another record."""

from __future__ import annotations

import re
from collections.abc import Iterable

from . import names
from .asked import GENERIC
from .claims import equal, mentions
from .dates import dates
from .facts import Fact, Facts, keyed
from .numbers import Number, numbers, same_dimension
from .text import clauses, phrase, plain, stems

Key = tuple[str, ...]
_COMPARES = re.compile(r"\b(than|ahead|behind|more|less|difference|against|versus|vs|compared|followed)\b")


def misbound(answer: str, facts: Facts) -> list[str]:
    """What an answer binds wrongly: numbers that were observed of another field than the clause names, and values of another
    record than the one that it names."""
    found: list[str] = []
    by_key = keyed([fact for fact in facts.facts if fact.numbers and fact.key])
    none: frozenset[str] = frozenset()
    money = {key: _currencies(names.meanings(held[0].name)) for key, held in by_key.items()}
    for clause in clauses(answer):
        meant = _currencies(names.mentioned(clause.strip(" .!?").split())) if any(money.values()) else none
        for piece in re.split(r",\s|\band\b", plain(clause)):
            claimed = [n for n in numbers(piece) if n.kind in ("number", "percent")]
            if len(claimed) != 1:
                continue
            said = set(stems(piece))
            named = [
                key for key in by_key if key[-1] not in GENERIC and (set(key) <= said or money.get(key, none) & meant)
            ]
            wrong = _wrong_field(claimed[0], named or _told_by_a_word(by_key, said), by_key, bool(named), said)
            found += [wrong] if wrong else []
        found += _other_record(clause, facts)
    return found


def _wrong_field(number: Number, named: list[Key], by_key: dict[Key, list[Fact]], whole: bool, said: set[str]) -> str:
    """Why a number is none of the one field that is named; '' if it is, or nothing tells. Where only a word of the field's
    name was said (not the `whole`), no word of a field that has the number may have been."""
    if len(named) != 1 or _value_of(number, by_key[named[0]]):
        return ""
    others = [key for key in by_key if key != named[0] and _value_of(number, by_key[key])]
    if not others or (not whole and any(set(key) & said for key in others)):
        return ""
    if (
        number.unit
        and not _measured(number, by_key[named[0]])
        and any(_measured(number, by_key[key]) for key in others)
    ):
        return ""  # 33 min are no count of episodes, whatever word stands beside it
    return f"{number.text} is not the {' '.join(named[0])}"


def _told_by_a_word(by_key: dict[Key, list[Fact]], said: set[str]) -> list[Key]:
    """The fields of which a word was said that no other field's name has: "a month" of the monthly payment."""
    return [
        key
        for key in by_key
        if (set(key) - GENERIC - {word for other in by_key if other != key for word in other}) & said
    ]


def _measured(number: Number, facts: Iterable[Fact]) -> bool:
    return any(same_dimension(known.unit, number.unit) for fact in facts for known in fact.numbers)


def _currencies(meanings: frozenset[str]) -> frozenset[str]:
    return frozenset(meaning for meaning in meanings if meaning.startswith("currency:"))


def _value_of(number: Number, facts: Iterable[Fact]) -> bool:
    return any(equal(number, known) for fact in facts for known in fact.numbers)


def _other_record(clause: str, facts: Facts) -> list[str]:
    """Values of a clause that names exactly one of several records, by a text or a day, where only another record has them."""
    records = facts.records
    said = phrase(clause)
    days = [date for date in dates(clause) if date.day]
    named = [
        place
        for place, fields in records.items()
        if any(mentions(said, fact) or any(a.agrees(b) for a in fact.dates if a.day for b in days) for fact in fields)
    ]
    by_day = [
        place for place in named if any(a.agrees(b) for f in records[place] for a in f.dates if a.day for b in days)
    ]
    if len(by_day) == 1 and len(named) == 2:  # the other is named by what is said of it
        [place] = by_day
        [other] = [one for one in named if one != place]
        texts = [f.text for f in records[other] if mentions(said, f) and len(records) > 1]
        return [f"{texts[0]} belongs to another"] if texts and not _COMPARES.search(plain(clause)) else []
    if len(records) < 2 or len(named) != 1 or _COMPARES.search(plain(clause)):
        return []
    own, found = records[named[0]], []
    for number in numbers(clause):
        if (
            number.kind not in ("number", "percent")
            or _value_of(number, own)
            or any(equal(number, n) for n in facts.asked.numbers)
        ):
            continue
        elsewhere = any(_value_of(number, fields) for place, fields in records.items() if place != named[0])
        inside = [
            fact for fact in facts.facts if fact.record[: len(named[0])] == named[0] and _value_of(number, [fact])
        ]
        if elsewhere and not inside:
            found.append(f"{number.text} belongs to another")
    return found
