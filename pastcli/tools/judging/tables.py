"""What was observed of several things beside one another: the elements of a list, objects with the same fields, several calls of
one API, home and away. Each thing is a row with the names that a text may call it by, so that one set of rules judges them all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .dates import Date, dates
from .fact import Fact, Place
from .names import spellings
from .numbers import VERSION
from .sources import Said
from .text import phrase, plain, stem, words

MOST = 40
"""Rows that are looked at."""
NAMING = frozenset(
    map(stem, "name title label id team ship hotel product airline flight player service option text symbol".split())
)
"""Words of fields that name a record."""
_CALLED = NAMING - {"text"}
_NAMES = frozenset(map(stem, "name title label version model".split()))
_SIDES = (("home", "away"), ("local", "visitor"), ("team1", "team2"), ("player1", "player2"), ("white", "black"))
_LONGEST = 8
"""Words of a text that can be a name."""


@dataclass(frozen=True)
class Row:
    """One thing: the phrases and the days it is called by, and the values observed of it (those that the query said among them)."""

    place: Place
    names: tuple[str, ...]
    days: tuple[Date, ...]
    facts: tuple[Fact, ...]
    text: str = ""
    """What it is called, as it was observed."""


@dataclass(frozen=True)
class Table:
    """Things of one kind; `kind` is what lies beside one another: a `list`, `siblings`, `calls`, `sides`."""

    rows: tuple[Row, ...]
    kind: str

    def fields(self) -> dict[tuple[str, ...], dict[int, Fact]]:
        """By the name of a field that half of the rows have: each row's value."""
        found: dict[tuple[str, ...], dict[int, Fact]] = {}
        for index, row in enumerate(self.rows):
            for fact in row.facts:
                found.setdefault(fact.key, {}).setdefault(index, fact)
        return {key: held for key, held in found.items() if 2 * len(held) >= len(self.rows) and len(held) > 1}


def tables(
    facts: Sequence[Fact],
    elements: Mapping[Place, Sequence[Fact]],
    apis: Sequence[str],
    arguments: Sequence[Mapping[str, Any]],
    asked: Said,
) -> list[Table]:
    """All the tables of an episode's observations: `elements` are those of lists, `apis` and `arguments` those of each response."""
    found = [*_lists(elements, facts, arguments), *_siblings(facts), *_calls(facts, apis, arguments), *_sides(facts)]
    return [table for table in found if 2 <= len(table.rows) <= MOST]


def _lists(
    elements: Mapping[Place, Sequence[Fact]], facts: Sequence[Fact], arguments: Sequence[Mapping[str, Any]]
) -> Iterator[Table]:
    lists: dict[Place, dict[Place, Sequence[Fact]]] = {}
    for place, fields in elements.items():
        if len(fields) > 1:
            lists.setdefault(place[:-1], {})[place] = fields
    for held in lists.values():
        shared = Counter(text for fields in held.values() for text in {f.phrase for f in fields if _is_text(f)})
        rows = []
        for place, fields in held.items():
            own = [f for f in fields if _is_text(f) and shared[f.phrase] == 1 and len(words(f.text)) <= _LONGEST]
            called = (
                [f for f in own if set(f.key) & _NAMES]
                or [f for f in own if set(f.key) & _CALLED and any(map(str.isalpha, f.text)) and f.key != ("id",)]
                or [f for f in own if f.dates]
                or [f for f in own if not any(map(str.isdigit, f.text))]
                or own
            )
            if called:
                told = [fact for fact in fields if fact is not called[0] or fact.dates]
                rows.append(
                    Row(
                        place,
                        _also_bare(called[0]),
                        tuple(called[0].dates),
                        (*told, *_told_later(fields, facts, arguments)),
                        called[0].text,
                    )
                )
        yield Table(tuple(rows), "list")


def _also_bare(fact: Fact) -> tuple[str, ...]:
    """A name, and without what stands behind it in brackets: 'Bosque (latest)' is Bosque; GCC 9.1.0 is 9.1.0."""
    bare = re.sub(r"\s*\([^()]*\)\s*\Z", "", fact.text)
    version = VERSION.search(plain(fact.text))
    shorter = [bare] if bare != fact.text and len(bare.strip()) > 1 else []
    shorter += [version[0]] if version and version[0] != plain(fact.text) else []
    return (fact.phrase, *map(phrase, shorter))


def _told_later(
    fields: Sequence[Fact], facts: Sequence[Fact], arguments: Sequence[Mapping[str, Any]]
) -> Iterator[Fact]:
    """What later calls said of an element of a list: calls that were made with its identifier."""
    ids = {plain(f.text) for f in fields if "id" in f.key or f.key[-1:] in (("sku",), ("slug",), ("code",))}
    for number, given in enumerate(arguments, 1):
        if number > int(fields[0].record[0]) and ids & {plain(str(value)) for value in given.values()}:
            yield from (fact for fact in facts if fact.record == (number,) and plain(fact.text) not in ids)


def _siblings(facts: Sequence[Fact]) -> Iterator[Table]:
    """Objects beside one another that have the same fields: {"bitcoin": {"gbp": …}, "ethereum": {"gbp": …}}."""
    held: dict[Place, list[Fact]] = {}
    for fact in facts:
        if len(fact.record) > 1 and isinstance(fact.record[-1], str):
            held.setdefault(fact.record, []).append(fact)
    groups: dict[tuple[Place, frozenset[tuple[str, ...]]], list[Place]] = {}
    for place, own in held.items():
        groups.setdefault((place[:-1], frozenset(fact.key for fact in own)), []).append(place)
    for places in groups.values():
        yield Table(
            tuple(Row(place, (phrase(str(place[-1])),), (), tuple(held[place]), str(place[-1])) for place in places),
            "siblings",
        )


def _calls(facts: Sequence[Fact], apis: Sequence[str], arguments: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """What several calls of one API said, each called as it calls itself and by the argument in which it differs: the car's
    and the train's, March's and April's."""
    for api in dict.fromkeys(apis):
        numbers = [n for n, one in enumerate(apis, 1) if one == api]
        for argument in arguments[numbers[0] - 1] if 1 < len(numbers) <= MOST else ():
            told = [str(arguments[n - 1].get(argument, "")) for n in numbers]
            if len(set(told)) < len(told) or not all(told):
                continue
            rows = []
            for number, value in zip(numbers, told, strict=True):
                held = [fact for fact in facts if fact.record[0] == number]
                own = [f for f in held if f.record == (number,) and _is_text(f) and set(f.key) & NAMING]
                names = (
                    *dict.fromkeys(
                        [
                            *(fact.phrase for fact in own[:1]),
                            phrase(value),
                            *(
                                phrase(name) if name.strip().isalnum() or " " in name else name
                                for name in spellings(value)
                            ),
                        ]
                    ),
                )
                values = (fact for fact in held if fact not in own[:1] and plain(fact.text) != plain(value))
                rows.append(Row((number,), names, tuple(dates(value)), tuple(values), own[0].text if own else value))
            own_names = [row.names[0] for row in rows]
            if len(set(own_names)) < len(rows):  # all call themselves the same
                rows = [replace(row, names=row.names[1:]) for row in rows]
            yield Table(tuple(rows), "calls")


def _sides(facts: Sequence[Fact]) -> Iterator[Table]:
    """The two sides of one record: `home` and `home_goals`, `away` and `away_goals`."""
    records: dict[Place, list[Fact]] = {}
    for fact in facts:
        records.setdefault(fact.record, []).append(fact)
    for place, fields in records.items():
        for sides in _SIDES:
            rows = []
            for side in sides:
                own = [fact for fact in fields if side in words(fact.name)]
                named = next((f for f in own if _is_text(f) and not re.search(r"id\b|logo|url", f.name.lower())), None)
                if named is not None and len(own) > 1:
                    values = (
                        replace(fact, key=tuple(part for part in fact.key if part != stem(side)))
                        for fact in own
                        if fact is not named
                    )
                    rows.append(Row((*place, side), (named.phrase,), (), tuple(values), named.text))
            if len(rows) == 2:
                yield Table(tuple(rows), "sides")


def _is_text(fact: Fact) -> bool:
    return isinstance(fact.value, str) and bool(fact.phrase.strip())
