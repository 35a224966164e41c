"""Several things told in one sentence: does each get its own values? "Late Talk at 8:15 pm and The Quiet Coast at 10 pm"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .claims import equal
from .dates import clocks
from .facts import Fact, Facts
from .numbers import numbers
from .spans import specifics
from .stance import is_spoken_of, stances, truths
from .text import clauses, phrase, plain, sentences, stem, words

Place = tuple[str | int, ...]
NAMING = frozenset(
    map(stem, "name title label id team ship hotel product airline flight player service option text symbol".split())
)
"""Words of fields that name a record."""
MOST = 40
"""Records that are looked at."""


@dataclass(frozen=True)
class Told:
    """Something of one sentence: where it stands, and the records that have it."""

    place: int
    records: frozenset[int]
    size: int = 0


def crossed(answer: str, facts: Facts) -> str:
    """A sentence that names two or more records and gives one of them a value that only another has; ''.

    A sentence that begins with a name has values behind names, one that begins with a value has them before.
    """
    records = _named_records(facts)
    if not 2 <= len(records) <= MOST:
        return ""
    asked = [plain(text) for text in specifics(facts.asked.text) if len(words(text)) > 1]
    for sentence in sentences(answer):
        said = _spaced(sentence)
        for text in asked:  # a title that the query gives holds no values
            said = said.replace(text, " " * len(text))
        named = sorted(_names(said, records), key=lambda told: told.place)
        if len({told.records for told in named}) < 2:
            continue
        values = sorted(_values(_without(said, named), records), key=lambda told: told.place)
        if values and _strays(values, named):
            return sentence
    return ""


def _named_records(facts: Facts) -> list[tuple[str, list[Fact]]]:
    """(name as a phrase, its other values) of the elements of the longest list of objects, or of the objects beside one another."""
    lists: dict[Place, list[tuple[str, list[Fact]]]] = {}
    for place, fields in facts.records.items():
        own = next(
            (fact for fact in fields if isinstance(fact.value, str) and set(fact.key) & NAMING and fact.phrase.strip()),
            None,
        )
        if own is not None:
            lists.setdefault(place[:-1], []).append((own.phrase, [fact for fact in fields if fact is not own]))
    for place, fields in _siblings(facts).items():
        if len(place) > 1 and isinstance(place[-1], str):
            lists.setdefault((*place[:-1], "*"), []).append((phrase(place[-1]), fields))
    for key, called in _calls_of_one(facts).items():
        lists[(key, "*", "*")] = called
    return max(lists.values(), key=len, default=[])


def _calls_of_one(facts: Facts) -> dict[str, list[tuple[str, list[Fact]]]]:
    """What several calls of one API said, each named by what it calls itself or by the argument in which it differs: the car's and the train's."""
    found: dict[str, list[tuple[str, list[Fact]]]] = {}
    for name in set(facts.names):
        places = [n for n, one in enumerate(facts.names) if one == name]
        for argument in facts.arguments[places[0]] if len(places) > 1 else ():
            told = [facts.arguments[n].get(argument) for n in places]
            if len({str(one) for one in told}) == len(told) and all(isinstance(one, str) and one for one in told):
                held = [[f for f in facts.facts if f.record[0] == n + 1 and not facts.echoes(f)] for n in places]
                called = [
                    next((f.phrase for f in facts.facts if f.record == (n + 1,) and _is_name(f)), "") for n in places
                ]
                if not all(called) or len(set(called)) < len(called):
                    called = [phrase(str(one)) for one in told]
                found[name] = list(zip(called, held, strict=True))
    return found


def _is_name(fact: Fact) -> bool:
    return isinstance(fact.value, str) and bool(set(fact.key) & NAMING) and any(map(str.isalpha, fact.text))


def _siblings(facts: Facts) -> Mapping[Place, list[Fact]]:
    """Objects beside one another that have the same fields: {"bitcoin": {"gbp": …}, "ethereum": {"gbp": …}}."""
    held: dict[Place, list[Fact]] = {}
    for fact in facts.facts:
        if len(fact.record) > 1 and isinstance(fact.record[-1], str):
            held.setdefault(fact.record, []).append(fact)
    fields = {place: frozenset(fact.key for fact in own) for place, own in held.items()}
    return {
        place: own
        for place, own in held.items()
        if any(other != place and other[:-1] == place[:-1] and fields[other] == fields[place] for other in held)
    }


def _spaced(sentence: str) -> str:
    return plain(re.sub(r"[*_`|\"“”]", " ", sentence))


def _names(said: str, records: Sequence[tuple[str, list[Fact]]]) -> Iterator[Told]:
    for index, (name, _) in enumerate(records):
        parts = name.split()
        pattern = r"\W+".join(map(re.escape, parts))
        if len(parts) == 1 and len(name.strip()) > 7:  # ether for ethereum
            short = max(5, -(-6 * len(parts[0]) // 10))
            pattern = rf"(?:{pattern}|{re.escape(parts[0][:short])})"
        for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", said):
            yield Told(match.start(), frozenset([index]), len(match[0]))


def _without(said: str, named: Sequence[Told]) -> str:
    """A sentence without its names: a number in one of them is no value."""
    for told in named:
        said = said[: told.place] + " " * told.size + said[told.place + told.size :]
    return said


def _values(said: str, records: Sequence[tuple[str, list[Fact]]]) -> Iterator[Told]:
    """The numbers, times and texts of a sentence that some of the records have and others have not."""
    names = {name for name, _ in records}
    for number in numbers(said):
        if number.kind in ("number", "percent"):
            yield from _told(
                number.span[0], [any(equal(number, k, True) for f in own for k in f.numbers) for _, own in records]
            )
    for clock in clocks(said):
        yield from _told(
            clock.span[0], [any(clock.minutes & k.minutes for f in own for k in f.clocks) for _, own in records]
        )
    texts = {fact.phrase for _, own in records for fact in own if isinstance(fact.value, str)} - names
    for text in texts:
        if text.strip() and not any(map(str.isdigit, text)):
            pattern = r"\W+".join(map(re.escape, text.split()))
            for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", said):
                yield from _told(match.start(), [any(fact.phrase == text for fact in own) for _, own in records])


def _told(place: int, held: Sequence[bool]) -> Iterator[Told]:
    if any(held) and not all(held):
        yield Told(place, frozenset(index for index, has in enumerate(held) if has))


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
            strays += bool(owners) and not owners & told.records
        else:
            owners = told.records if fresh else owners | told.records
        fresh = is_value
    return strays


def said_of_each(answer: str, facts: Facts) -> tuple[list[str], set[Fact]]:
    """(fields stated the wrong way round, facts stated right) where a clause says of records by name what is true of some only, or what some
    have none of ("free plugs" where 0 are free)."""
    known = truths(facts.novel)
    booleans: dict[tuple[str, ...], dict[Place, Fact]] = {}
    for place, fields in facts.records.items():
        for fact in fields:
            none = fact.value == 0 and is_spoken_of(fact.key)
            if (isinstance(fact.value, bool) or none) and fact.key not in known:
                booleans.setdefault(fact.key, {})[place] = fact
    wrong: list[str] = []
    right: set[Fact] = set()
    for key, held in booleans.items():
        for clause in clauses(answer):
            said = phrase(clause)
            spoken = stances(_without_texts(clause, facts), key, "")
            named = [fact for place, fact in held.items() if any(_calls(said, other) for other in facts.records[place])]
            if named and len(spoken) == 1 and {bool(fact.value) for fact in named} == spoken:
                right.update(named)
            elif named and len(spoken) == 1:
                wrong.append(" ".join(key))
    return wrong, right


def _without_texts(clause: str, facts: Facts) -> str:
    """A clause without the names in it: the shop "Open Harbour" need not be open."""
    for fact in facts.facts:
        if isinstance(fact.value, str) and fact.key and set(fact.key) & NAMING and len(fact.text) > 2:
            clause = re.sub(rf"(?<!\w){re.escape(fact.text)}(?!\w)", " ", clause, flags=re.IGNORECASE)
    return clause


def _calls(said: str, fact: Fact) -> bool:
    return isinstance(fact.value, str) and bool(fact.phrase.strip()) and fact.phrase in said
