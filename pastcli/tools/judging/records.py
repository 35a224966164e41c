"""Several things told beside one another: does each get its own values? "Late Talk at 8:15 pm and The Quiet Coast at 10 pm"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .dates import clocks, dates
from .fact import Fact
from .facts import Facts
from .numbers import Number, equal, numbers
from .spans import specifics
from .tables import Table
from .text import phrase, plain, sentences, words

_COMPARES = re.compile(
    r"\b(?:than|ahead|behind|more|less|difference|against|versus|vs|compared|followed|others?|rest|both|all|each|average|total|together|altogether|combined|respectively|instead|rather|before|earlier|later|after|previous\w*|formerly|whereas|while|least|most|range|between|from (?=[\d$€£]))\b"
)
"""Words beside which a value may be another's."""
_BESIDE_COMPARED = re.compile(
    r"\b(?:than|against|versus|vs\.?|over|unlike|compared (?:to|with)|ahead of|behind|lost to|beat|defeated)\s(?:the\s)?\Z"
)
"""What stands before a name that is only compared with: what follows may be of either."""
_ITS = re.compile(r"[^\W\d]{0,12}(?:\s[^\W\d]{1,12})?\s?(?:for|of|in|at|by|on)\s(?:the\s)?\Z")
"""What stands between a value and the name that it belongs to: 31 hours for the Nova X, 1,250 in March."""
_ENUMERATED = re.compile(r"(?:1[^\w]*(?:and\s|or\s)?)+")
_ITEM = re.compile(r"\s*(?:[-*•|–]|\d{1,2}[.)])\s?")
"""How an entry of a list or a row of a table begins."""
_ASIDE = re.compile(r"\([^()]*\)")
_SMALL = 10
"""Whole numbers below this are found in any record by accident."""


@dataclass(frozen=True)
class Told:
    """Something of one sentence: where it stands, and the rows that have it."""

    place: int
    rows: frozenset[int]
    size: int = 0


def crossed(answer: str, facts: Facts) -> str:
    """A sentence that names two or more things and gives one of them a value that only another has, or that goes on about one
    and gives it another's; ''.

    A sentence that begins with a name has values behind names, one that begins with a value has them before.
    """
    for table in facts.tables:
        if table.kind == "sides":  # a score has an order of its own
            continue
        titles = _titles(table, facts)
        subject: int | None = None
        for sentence in sentences(answer):
            if _ITEM.match(sentence):  # each entry is about its own
                subject = None
            said = _spaced(sentence)
            for text in titles:  # a title that the query gives holds no values
                said = said.replace(text, " " * len(text))
            named = sorted(names(said, table), key=lambda told: told.place)
            several = len({told.rows for told in named}) > 1
            if several and any(_is_mixed(part, table) for part in _parts(said, named)):
                return sentence
            subject = _subject(said, named, several, subject)
            for clause in re.split(r";\s", _without(said, named)):
                if subject is None or _is_told_of_another(clause, subject, table):
                    break
                if _goes_astray(clause, subject, table, facts):
                    return sentence
    return ""


def _parts(said: str, named: Sequence[Told]) -> Iterator[str]:
    """A sentence up to a name that it only compares with, and what it says of others in brackets."""
    for told in named:
        if _BESIDE_COMPARED.search(said[: told.place]):
            said = said[: told.place]
            break
    asides = [
        match
        for match in _ASIDE.finditer(said)
        if any(match.start() < told.place < match.end() for told in named) and any(map(str.isdigit, match[0]))
    ]
    for match in asides:
        said = said[: match.start()] + " " * len(match[0]) + said[match.end() :]
        yield match[0].strip("()")
    yield said


def _is_mixed(said: str, table: Table) -> bool:
    """True if a text gives a thing that it names a value that only another one has."""
    named = sorted(names(said, table), key=lambda told: told.place)
    values = sorted(_values(_without(said, named), table), key=lambda told: told.place)
    if not named:
        return False
    ahead = [value for value in values if value.place < named[0].place]
    if len(ahead) == len({told.rows for told in named}) == len(named) > 1:  # 19, 22 and 18 °C on the 1st, 2nd and 3rd
        return any(value.rows.isdisjoint(told.rows) for value, told in zip(ahead, named, strict=True))
    if len(ahead) > 1 and _ENUMERATED.fullmatch(re.sub(r"\d[\d.,]*", "1", said[ahead[0].place : ahead[-1].place])):
        values = values[len(ahead) :]  # which is whose, nobody can tell
    if not values:
        return False
    rest = []
    for value in values:
        owner = next((told for told in named if told.place > value.place), None)
        if owner and _is_counted_in(said, value, owner, table):
            if not owner.rows & value.rows:
                return True
            continue
        between = said[value.place + value.size : owner.place] if owner else ""
        if owner and _ITS.match(between) and (values[0].place < named[0].place or re.search(r"\bfor\b", between)):
            if not owner.rows & value.rows:
                return True
        else:
            rest.append(value)
    return bool(rest) and len({told.rows for told in named}) > 1 and bool(_strays(rest, named))


def _is_counted_in(said: str, value: Told, owner: Told, table: Table) -> bool:
    """True if a value stands right before another name of a row, by which it is counted: 243.25 Swiss francs."""
    name = phrase(said[owner.place : owner.place + owner.size])
    beside = not said[value.place + value.size : owner.place].strip()
    return beside and any(name in table.rows[row].names[1:] for row in owner.rows)


def _is_told_of_another(clause: str, subject: int, table: Table) -> bool:
    """True if a clause without a name tells two things of one other row, and none of this one: it has gone on to that."""
    told = list(_values(clause, table))
    others = [told_of.rows for told_of in told if subject not in told_of.rows]
    begins = any(not clause[: told_of.place].strip(" '(\"") for told_of in told if subject not in told_of.rows)
    return len(others) == len(told) > (0 if begins else 1) and bool(frozenset.intersection(*others))


def _titles(table: Table, facts: Facts) -> list[str]:
    """Names of several words that the query gives and that are no row's."""
    own = {name for row in table.rows for name in row.names}
    given = [plain(text) for text in specifics(facts.asked.text) if len(words(text)) > 1]
    return [text for text in given if phrase(text) not in own]


def _subject(said: str, named: Sequence[Told], several: bool, before: int | None) -> int | None:
    """The row that a sentence is about: the one it names, or that of the sentence before where it names none."""
    if several or (not named and _COMPARES.search(said)):
        return None
    return next(iter(named[0].rows)) if named and len(named[0].rows) == 1 else None if named else before


def _goes_astray(said: str, subject: int, table: Table, facts: Facts) -> bool:
    """True if a sentence about one row holds a value that only others have."""
    if _COMPARES.search(said):
        return False
    others = [f for index, row in enumerate(table.rows) if index != subject for f in row.facts]
    inside = {fact for row in table.rows for fact in row.facts}
    known = [fact for fact in facts.facts if fact not in inside]
    own = table.rows[subject].facts
    for number in numbers(said):
        if number.kind not in ("number", "percent") or (not number.unit and number.value in range(_SMALL)):
            continue
        if _has(number, others) and not _has(number, (*own, *known)) and not _is_asked(number, facts):
            return True
    for clock in clocks(said):
        told = [any(clock.minutes & k.minutes for f in held for k in f.clocks) for held in (others, (*own, *known))]
        if told[0] and not told[1] and not any(clock.minutes & k.minutes for k in facts.asked.clocks):
            return True
    for day in dates(said):
        told = [any(day.agrees(k) for f in held for k in f.dates) for held in (others, (*own, *known))]
        days = [*facts.asked.dates, *table.rows[subject].days]
        if day.day and told[0] and not told[1] and not any(day.agrees(k) for k in days):
            return True
    own_texts = "".join(fact.phrase for fact in (*own, *known)) + phrase(facts.asked.text)
    texts = {f.phrase for f in others if isinstance(f.value, str) and len(f.phrase) > 5 and f.phrase not in own_texts}
    return any(text in phrase(said) for text in texts)


def _has(number: Number, facts: Sequence[Fact]) -> bool:
    return any(equal(number, known, True) for fact in facts for known in fact.numbers)


def _is_asked(number: Number, facts: Facts) -> bool:
    return any(equal(number, known, True) for known in facts.asked.numbers) or any(
        number.value == length for length, _ in facts.lengths
    )


def _spaced(sentence: str) -> str:
    return plain(re.sub(r"[*_`|\"“”]", " ", sentence))


def names(said: str, table: Table) -> Iterator[Told]:
    """Where a plain text names the rows of a table."""
    for index, row in enumerate(table.rows):
        for name in row.names:
            for match in _pattern(name).finditer(said):
                yield Told(match.start(), frozenset([index]), len(match[0]))
        for day in dates(said) if row.days else ():
            if any(day.agrees(own) and (day.day or not own.day) for own in row.days):
                yield Told(day.span[0], frozenset([index]), day.span[1] - day.span[0])
        for month in {own.month for own in row.days if not own.day}:
            for match in re.finditer(rf"\b{_MONTHS[month - 1]}\b(?! \d)", said):
                yield Told(match.start(), frozenset([index]), len(match[0]))


_MONTHS = "january february march april may june july august september october november december".split()


@lru_cache(maxsize=4096)
def _pattern(name: str) -> re.Pattern[str]:
    """How a text names what is called so: word by word, or a long word by its beginning (ether for ethereum)."""
    parts = name.split()
    if len(name) == 1:  # the sign of a currency
        return re.compile(re.escape(name))
    pattern = r"(?:'s)?[\W_]*".join(map(re.escape, parts))
    if len(parts) == 1 and len(parts[0]) > 6 and parts[0].isalpha():
        short = max(5, -(-6 * len(parts[0]) // 10))
        pattern = rf"(?:{pattern}|{re.escape(parts[0][:short])}\w{{0,5}})"
    return re.compile(rf"(?<!\w){pattern}(?!\w)")


def _without(said: str, named: Sequence[Told]) -> str:
    """A sentence without its names: a number in one of them is no value."""
    for told in named:
        said = said[: told.place] + " " * told.size + said[told.place + told.size :]
    return said


def _values(said: str, table: Table) -> Iterator[Told]:
    """The numbers, times and texts of a sentence that some of the rows have and others have not."""
    called = {name for row in table.rows for name in row.names}
    for number in numbers(said):
        if number.kind in ("number", "percent"):
            held = [any(equal(number, k, True) for f in row.facts for k in f.numbers) for row in table.rows]
            yield from _told(number.span, held)
    for clock in clocks(said):
        held = [any(clock.minutes & k.minutes for f in row.facts for k in f.clocks) for row in table.rows]
        yield from _told(clock.span, held)
    for day in dates(said):
        if day.day:
            yield from _told(day.span, [any(day.agrees(k) for f in row.facts for k in f.dates) for row in table.rows])
    texts = {fact.phrase for row in table.rows for fact in row.facts if isinstance(fact.value, str)} - called
    for text in texts:
        if text.strip() and not any(map(str.isdigit, text)):
            pattern = r"\W+".join(map(re.escape, text.split()))
            for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", said):
                yield from _told(match.span(), [any(text in fact.phrase for fact in row.facts) for row in table.rows])


def _told(span: tuple[int, int], held: Sequence[bool]) -> Iterator[Told]:
    if any(held) and not all(held):
        yield Told(span[0], frozenset(index for index, has in enumerate(held) if has), span[1] - span[0])


def _strays(values: Sequence[Told], named: Sequence[Told]) -> int:
    """How many values belong to none of the names they go with: those before them, or behind them in a sentence that begins
    with a value. Names in a row are told of together."""
    behind = values[0].place < named[0].place
    row = sorted(
        [(told.place, False, told) for told in named] + [(told.place, True, told) for told in values],
        reverse=behind,
        key=lambda one: one[0],
    )
    owners: frozenset[int] = frozenset()
    strays, fresh = 0, True
    for _, is_value, told in row:
        if is_value:
            strays += bool(owners) and not owners & told.rows
        else:
            owners = told.rows if fresh else owners | told.rows
        fresh = is_value
    return strays
