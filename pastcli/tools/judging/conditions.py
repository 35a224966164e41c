"""Which of several things a query is about: those that are offline, written in Go, open on Mondays. What holds of them decides who
may be named, how many there are, and who must be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from .fact import Fact, Place
from .facts import Facts
from .numbers import numbers
from .records import names
from .spans import specifics
from .stance import spelled, stances
from .tables import Row, Table
from .text import clauses, phrase, plain, sentences, stem, stems, words

_CONTRAST = re.compile(
    r"\b(?:not|no|except|but|while|whereas|however|though|although|others?|rest|only|closed|than|unlike|besides|against|instead|none|neither|too)\b|n't\b"
)
PARTS = re.compile(r"(?<=[.?!])\s+|,?\s\band (?=how|what|when|which|who|where)")
"""Between the questions of a query."""
_HOW_MANY = re.compile(r"\bhow many\b|\bnumber of\b|\bcount\b")
_DAYS = "mon tue wed thu fri sat sun".split()
_SHORT = 3
"""Letters up to which a word is looked for as it is written: Go is no verb."""

Holds = Callable[[Row], bool]


def satisfying(text: str, table: Table, truths_only: bool = False) -> frozenset[int] | None:
    """The rows that a text speaks of by what holds of some and not of others; None if it names no such thing."""
    found: list[set[int]] = []
    for key, held in table.fields().items():
        for test in _tests(text, key, held, truths_only):
            found.append({index for index, row in enumerate(table.rows) if test(row)})
    found += [*_open_on(text, table), *_within(text, table)]
    found = [rows for rows in found if len(rows) < len(table.rows)]
    return frozenset.intersection(*map(frozenset, found)) if found else None


def _tests(text: str, key: tuple[str, ...], held: Mapping[int, Fact], truths_only: bool) -> list[Holds]:
    """What a text demands of one field: that it is so, or that it is a value which the text names."""
    values = {fact.value for fact in held.values() if isinstance(fact.value, (str, bool))}
    if len(values) > 1 and all(isinstance(value, bool) for value in values):
        said = stances(_without_names(text), key, "")
        return [_has(key, *said)] if len(said) == 1 else []
    opposite = {told for fact in held.values() for told, _ in spelled(fact)}
    for told in opposite:
        said = stances(text, told, "")
        if len(said) == 1:
            return [_is_so(told, said)]
    if truths_only or len(values) == len(held):  # each has its own: a name
        return []
    for value in values:
        if (
            isinstance(value, str)
            and 0 < len(words(value)) <= 3
            and not any(map(str.isdigit, value))
            and _names(text, value)
        ):
            return [_has(key, value)]
    return []


def _has(key: tuple[str, ...], value: str | bool) -> Holds:
    wanted = plain(str(value))
    return lambda row: any(fact.key == key and plain(fact.text) == wanted for fact in row.facts)


def _is_so(key: tuple[str, ...], truths: set[bool]) -> Holds:
    return lambda row: any(told == key and truth in truths for fact in row.facts for told, truth in spelled(fact))


def _names(text: str, value: str) -> bool:
    return (
        re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None
        if len(value) <= _SHORT
        else phrase(value) in phrase(text)
    )


def _without_names(text: str) -> str:
    """A query without its quoted texts: the shop 'Open Harbour' need not be open."""
    for name in specifics(text):
        if " " in name:
            text = text.replace(name, " ")
    return text


def _open_on(text: str, table: Table) -> list[set[int]]:
    """The rows that are open on the day that a text names, where they list the days on which they are closed, or open."""
    days = {word[:3] for word in re.findall(r"\b(mon|tues?|wednes|thurs?|fri|satur|sun)days?\b", plain(text))}
    found = []
    for key, wanted in ((("clos",), False), ((stem("closed"),), False), (("open",), True)):
        held = [{plain(f.text)[:3] for f in row.facts if f.key == key} for row in table.rows]
        if len(days) == 1 and any(held) and all(day in _DAYS for own in held for day in own):
            found.append({index for index, own in enumerate(held) if bool(days & own) == wanted})
    return found


_LIMIT = re.compile(
    r"\b(?:(?P<below>less than|under|below|at most|up to|no more than|maximum of)|(?P<above>more than|over|above|at least|minimum of))\s(?:[$€£]\s?)?\Z"
)


def _within(text: str, table: Table) -> list[set[int]]:
    """The rows that keep within a limit that a text sets on an amount of a unit: less than 600 kcal."""
    found = []
    said = plain(text)
    for number in numbers(said):
        side = _LIMIT.search(said[: number.span[0]])
        if not side or not number.unit:
            continue
        for held in table.fields().values():
            known = {
                n: own for n, fact in held.items() for own in fact.numbers[:1] if own.unit and own.in_unit(number.unit)
            }
            if len(known) == len(table.rows):
                amounts = {n: own.in_unit(number.unit) for n, own in known.items()}
                found.append(
                    {
                        n
                        for n, own in amounts.items()
                        if own and (own.value <= number.value if side["below"] else own.value >= number.value)
                    }
                )
    return found


def strangers(answer: str, facts: Facts) -> str:
    """A thing that an answer names as one of those asked for, and is none; ''.

    A clause that contrasts ("Lia's Kitchen is closed") says what is so of others, and is left alone.
    """
    for table in facts.tables:
        wanted = satisfying(asked_of(facts.asked.text), table) if table.kind == "list" else None
        if wanted is None:
            continue
        for sentence in sentences(answer):
            for clause in clauses(sentence):
                said = plain(clause)
                rows = {row for told in names(said, table) for row in told.rows}
                others = rows - wanted
                restated = satisfying(clause, table) == wanted
                if not others or _CONTRAST.search(said) or (len(rows) == len(table.rows) and not restated):
                    continue
                if restated or not _told_as_such(clause, table, others, wanted):
                    return table.rows[min(others)].text
    return ""


def asked_of(query: str) -> str:
    """The parts of a query that ask for things: not where something is, or when."""
    parts = re.split(PARTS, query)
    return " ".join(part for part in parts if not re.match(r"\W*(?:where|when)\b", plain(part)))


def _told_as_such(clause: str, table: Table, rows: set[int], wanted: frozenset[int]) -> bool:
    """True if a clause itself says what these rows are: "the hall sensor is online"."""
    own = satisfying(clause, table, truths_only=True)
    return own is not None and rows <= own and not own <= wanted


def expected_count(facts: Facts) -> tuple[int, str] | None:
    """(how many there are of what the query counts, the query's words for it); None if it counts nothing that tells them apart."""
    for question in re.split(PARTS, facts.asked.text):
        found = _HOW_MANY.search(plain(question))
        for table in facts.tables if found else ():
            rows = satisfying(question[found.start() :] if found else "", table) if table.kind == "list" else None
            if rows is not None:
                return len(rows), question
        listed = _listed(question, facts) if found else 0
        if listed:
            return listed, question
    return None


def _listed(question: str, facts: Facts) -> int:
    """The length of the one list of plain values that a question counts: how many moons."""
    asked = set(stems(question))
    lists: dict[Place, int] = {}
    for fact in facts.facts:
        plainly = isinstance(fact.record[-1], int) and len(fact.record) > 1 and fact.record not in facts.elements
        if plainly and fact.key and set(fact.key) <= asked:
            lists[fact.record[:-1]] = lists.get(fact.record[:-1], 0) + 1
    return next(iter(lists.values())) if len(lists) == 1 else 0


def counts_some(value: float, clause: str, facts: Facts) -> set[int]:
    """The APIs that told of so many things which are what a clause, or the query, speaks of."""
    found = set()
    for table in facts.tables:
        if value > len(table.rows):
            continue
        for text in (clause, facts.asked.text):
            rows = satisfying(text, table)
            if rows is not None and value in (len(rows), len(table.rows) - len(rows)):
                found.add(table.rows[0].facts[0].api)
    return found
