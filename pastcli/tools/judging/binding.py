"""Values bound to the wrong thing: to another field than a clause names, or to another record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from . import names
from .asked import GENERIC
from .claims import mentions
from .dates import clocks, dates
from .fact import Fact
from .facts import Facts, keyed
from .numbers import Number, equal, numbers
from .text import clauses, phrase, plain, stem, stems, words
from .units import same_dimension

Key = tuple[str, ...]
_COMPARES = re.compile(r"\b(than|ahead|behind|more|less|difference|against|versus|vs|compared|followed)\b")
_AMOUNT = re.compile(
    r"(?P<sign>[$€£¥])\s?(?P<amount>\d[\d,]*(?:\.\d+)?)|(?P<before>\d[\d,]*(?:\.\d+)?)\s?(?P<word>dollars?|euros?|pounds?|yen|rupees?|francs?|[$€£¥])(?!\w)"
)
_NO_MONEY = frozenset(map(stem, "rating score stars rank year count size age".split()))
_WEEK = "mon tue wed thu fri sat sun".split()
_DAYS = frozenset(_WEEK)
_DOLLARS = {f"currency:{code}" for code in ("USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN")}


def misbound(answer: str, facts: Facts) -> list[str]:
    """What an answer binds wrongly: numbers that were observed of another field than the clause names, and values of another
    record than the one that it names."""
    found: list[str] = []
    by_key = keyed([fact for fact in facts.facts if fact.numbers and fact.key])
    none: frozenset[str] = frozenset()
    money = {key: _currencies(names.meanings(held[0].name)) for key, held in by_key.items()}
    for clause in clauses(answer):
        meant = _currencies(names.mentioned(clause.strip(" .!?").split())) if any(money.values()) else none
        for piece in re.split(r",\s|\b(?:and|with)\b", plain(clause)):
            claimed = [
                n for n in numbers(piece) if n.kind in ("number", "percent") or (n.kind == "word" and n.value > 1)
            ]
            claimed = [
                n for n in claimed if not any(n.value == asked.value for asked in facts.asked.numbers)
            ] or claimed
            if len(claimed) != 1:
                continue
            spelled = claimed[0].kind == "word"
            beside = set(stems(piece[claimed[0].span[1] :])[:2])  # nine seats; not nine of the seats
            said = set(stems(_of_this(piece, claimed[0]))) | _initials(piece)
            named = [
                key
                for key in by_key
                if not (
                    _is_its_unit(key, claimed[0])
                    or (spelled and (isinstance(by_key[key][0].value, str) or not set(key) <= beside))
                )
                and key[-1] not in GENERIC
                and (_says_all(key, said) or money.get(key, none) & meant)
            ]
            if named and money.get(named[0]):
                by_key = {key: [*held, *_multiples(held, facts)] for key, held in by_key.items()}
            wrong = _wrong_field(
                claimed[0], named or ([] if spelled else _told_by_a_word(by_key, said)), by_key, bool(named), said
            )
            found += [wrong] if wrong else []
        found += [*_other_record(clause, facts), *_other_day(clause, facts)]
    return found + _strange_money(answer, facts)


def _is_its_unit(key: Key, number: Number) -> bool:
    """True if the word that names a field is what the number is counted in: 13.5 grams of protein are no `grams`."""
    return bool(number.unit) and len(key) == 1 and key[0] in (number.unit, stem(number.unit))


def _of_this(piece: str, claimed: Number) -> str:
    """A piece without the units of its other numbers: "150 grams have 174 kcal" names no field of grams."""
    for number in reversed(numbers(piece)):
        after = re.match(r"\s?[a-z]+", piece[number.span[1] :])
        if number.span != claimed.span and number.unit and after:
            piece = piece[: number.span[1]] + piece[number.span[1] + after.end() :]
    return piece


def _initials(piece: str) -> set[str]:
    """What the words of a piece are short for, three and four at a time: the air quality index is an `aqi`."""
    said = words(piece)
    return {"".join(word[0] for word in said[n : n + size]) for size in (3, 4) for n in range(len(said) - size + 1)}


def _other_day(clause: str, facts: Facts) -> list[str]:
    """Times of a clause that names one day of the week, where fields are named after days and only another one has them."""
    days = {word[:3] for word in re.findall(r"\b(mon|tues?|wednes|thurs?|fri|satur|sun)days?\b", plain(clause))}
    by_day: dict[str, list[Fact]] = {}
    for fact in facts.facts:
        if fact.clocks and fact.key and all(part[:3] in _DAYS for part in fact.key):
            for day in _days_of(fact.key):
                by_day.setdefault(day, []).append(fact)
    own = [fact for day in days for fact in by_day.get(day, ())]
    if len(days) != 1 or not own:
        return []
    return [
        "the hours of another day"
        for clock in clocks(clause)
        if not any(clock.minutes & known.minutes for fact in own for known in fact.clocks)
        and any(clock.minutes & known.minutes for held in by_day.values() for fact in held for known in fact.clocks)
    ]


def _days_of(key: Key) -> list[str]:
    """The days that a field is named after: `mon-sat` is six of them."""
    first, last = (_WEEK.index(part[:3]) for part in (key[0], key[-1]))
    return _WEEK[first : last + 1] if first <= last else [_WEEK[first], _WEEK[last]]


def _strange_money(answer: str, facts: Facts) -> list[str]:
    """Currencies in which an answer gives amounts that the query did not, where others were observed and not these."""
    known: set[str] = set()
    for fact in facts.facts:
        if len(fact.name) == 3:
            known |= _currencies(names.meanings(fact.name))
        if "currency" in fact.key or fact.text in "$€£¥":
            known |= _currencies(names.meanings(fact.text))
    asked = {number.value for number in facts.asked.numbers}
    strange = []
    for match in _AMOUNT.finditer(plain(answer)) if known else ():
        sign = match["sign"] or match["word"]
        amount = numbers(match["amount"] or match["before"], apart=False)
        if amount and amount[0].value not in asked and not _is_known_money(sign, known):
            strange.append(f"nothing was observed in {sign}")
    return strange


def _is_known_money(sign: str, known: set[str]) -> bool:
    """True if a sign or word for a currency is one of those known; every dollar is a dollar."""
    meant = _currencies(names.meanings(sign))
    return bool(meant & known) or not meant or bool(meant & _DOLLARS and known & _DOLLARS)


def _wrong_field(number: Number, named: list[Key], by_key: dict[Key, list[Fact]], whole: bool, said: set[str]) -> str:
    """Why a number is none of the one field that is named; '' if it is, or nothing tells. Where only a word of the field's
    name was said (not the `whole`), no word of a field that has the number may have been."""
    if len(named) != 1 or _value_of(number, by_key[named[0]]):
        return ""
    if re.match(r"[$€£¥]", number.text) and set(named[0]) & _NO_MONEY:  # at $18.50 it has the best rating
        return ""
    others = [key for key in by_key if key != named[0] and _value_of(number, by_key[key])]
    if any(set(key) > set(named[0]) and _says_all(key, said) for key in others):
        return ""  # the view count's text, said by its whole name
    if not others or (not whole and any(set(key) & said for key in others)):
        return ""
    if (
        number.unit
        and not _measured(number, by_key[named[0]])
        and any(_measured(number, by_key[key]) for key in others)
    ):
        return ""  # 33 min are no count of episodes, whatever word stands beside it
    return f"{number.text} is not the {' '.join(named[0])}"


def _multiples(held: Iterable[Fact], facts: Facts) -> Iterator[Fact]:
    """What amounts come to: a rate times a number of the query."""
    for fact in held:
        for factor in facts.asked.numbers:
            if isinstance(fact.value, (int, float)) and factor.kind == "number":
                yield replace(fact, value=round(fact.value * factor.value, 2))


def _says_all(key: Key, said: set[str]) -> bool:
    """True if every word of a field's name was said, or stands for a longer one: `mag` is a magnitude, `temp` a temperature."""
    return all(
        part in said or (len(part) >= 3 and any(w.startswith(part) and len(w) > len(part) + 2 for w in said))
        for part in key
    )


def _told_by_a_word(by_key: dict[Key, list[Fact]], said: set[str]) -> list[Key]:
    """The fields of which a word was said that no other field's name has: "a month" of the monthly payment."""
    return [
        key
        for key in by_key
        if (set(key) - GENERIC - {word for other in by_key if other != key for word in other}) & said
    ]


def _labelled_otherwise(number: Number, said: str, own: Iterable[Fact]) -> str:
    """A field whose word stands directly before a number ("grid 1") and that is another number in the record told of; ''."""
    before = re.search(r"([^\W\d_]{3,})[ :#]{1,2}(?:(?:is|of|no) )?\Z", said[: number.span[0]])
    label = stem(before[1]) if before else ""
    held = [fact for fact in own if fact.key == (label,) and fact.numbers]
    return f"{number.text} is not its {label}" if held and not _value_of(number, held) else ""


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
    for date in dates(clause):
        mine = [known for fact in own for known in fact.dates]
        others = [known for place, fields in records.items() if place != named[0] for f in fields for known in f.dates]
        if mine and not any(date.agrees(known) for known in mine) and any(date.agrees(known) for known in others):
            found.append("a date of another")
    for number in numbers(clause):
        wrong = _labelled_otherwise(number, plain(clause), own)
        if wrong:
            found.append(wrong)
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
