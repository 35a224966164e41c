"""A limit in time that the query sets, and an answer that oversteps it: a sailing at 12:15 for one "before noon", a later holiday
than the next after a day."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date as day_of

from .dates import Date, clocks, dates
from .fact import Fact
from .facts import Facts
from .records import names
from .stance import affirms, denies
from .tables import Row
from .text import clauses, plain, stem

_SIDE = re.compile(r"\b(before|earlier than|by|until|after|later than|from)\s(?:about\s|around\s)?\Z")
_BEFORE = ("before", "earlier than", "by", "until")
_UP = re.compile(r"\b(?:up from|risen|rose|rise|increased|gained|climbed|higher than)\b")
_DOWN = re.compile(r"\b(?:down from|fallen|fell|decreased|dropped|lost|slipped|lower than)\b")
_BEFORE_NOW = frozenset(map(stem, "previous prev prior former yesterday".split()))
"""Words of fields that hold what something was before."""
_NEXT_AFTER = re.compile(r"\b(?:next|first)\b[^.?!]*\bafter\s(?:the\s)?\Z")


def overstepped(answer: str, facts: Facts) -> str:
    """What of an answer lies outside the limit that the query sets; ''."""
    return _wrong_time(answer, facts) or _not_the_next(answer, facts)


def turned(answer: str, facts: Facts) -> str:
    """What an answer says has risen and fell by what was observed before, or the other way round; ''."""
    said = plain(answer)
    several = _several_turned(answer, facts)
    if several:
        return several
    up, down = bool(_UP.search(said)), bool(_DOWN.search(said))
    if up == down:
        return ""
    for before in facts.facts:
        now = [
            fact
            for fact in facts.facts
            if fact.record == before.record and _is_amount(fact) and _BEFORE_NOW.isdisjoint(fact.key)
        ]
        if _is_amount(before) and not _BEFORE_NOW.isdisjoint(before.key) and len(now) == 1:
            risen = now[0].value > before.value
            if now[0].value != before.value and risen != up:
                return now[0].name
    return ""


def _several_turned(answer: str, facts: Facts) -> str:
    """What a clause says has risen, or fallen, of several things, all of them or by name, and has not: opened at 27, closed at 26."""
    for table in facts.tables:
        moved = {index: way for index, row in enumerate(table.rows) if (way := _moved(row))}
        for clause in clauses(answer) if len(moved) == len(table.rows) else ():
            said = plain(clause)
            up, down = bool(_UP.search(said)), bool(_DOWN.search(said))
            told = {row for one in names(said, table) for row in one.rows}
            rows = set(moved) if re.search(r"\b(?:both|all|each|neither)\b", said) else told
            if up != down and not re.search(r"\bn(?:ot|either|or|one|o)\b|n't\b|\bthan\b", said):
                wrong = [row for row in rows if (moved[row] > 0) != up]
                if wrong:
                    return table.rows[wrong[0]].text
    return ""


def _moved(row: Row) -> float:
    """By how much the amount of a row has risen since it opened; 0 where it does not say."""
    held = {part: fact.numbers[0].value for fact in row.facts if _is_amount(fact) for part in fact.key}
    return held["clos"] - held["open"] if {"open", "clos"} <= held.keys() else 0.0


def _is_amount(fact: Fact) -> bool:
    return isinstance(fact.value, (int, float)) and not isinstance(fact.value, bool)


def _wrong_time(answer: str, facts: Facts) -> str:
    """The time that an answer affirms, if all it says lie on the wrong side of the one that the query names."""
    asked = plain(facts.asked.text)
    limits = [(clock, found[1]) for clock in facts.asked.clocks if (found := _SIDE.search(asked[: clock.span[0]]))]
    said = clocks(answer)
    if len(limits) != 1 or not said or not affirms(answer) or denies(answer):
        return ""
    [(limit, side)] = limits
    bounds = limit.minutes
    for clock in said:
        minutes = {minute for minute in clock.minutes if minute >= 60} or clock.minutes  # 12:15 is rather past noon
        ways = ((minute, bound) for minute in minutes for bound in bounds)
        if any(minute <= bound if side in _BEFORE else minute >= bound for minute, bound in ways):
            return ""
    return plain(answer)[slice(*said[0].span)].strip()


def _not_the_next(answer: str, facts: Facts) -> str:
    """The day that an answer tells, if the query wants the next one after a day, and another observed one is."""
    asked = plain(facts.asked.text)
    start = [date.whole for date in facts.asked.dates if date.whole and _NEXT_AFTER.search(asked[: date.span[0]])]
    held = sorted({date.whole for fact in facts.facts for date in fact.dates if date.whole})
    later = [day for day in held if start and day > start[0]]
    told = [date for date in dates(answer) if any(day in later for day in _days(date, held))]
    if len(start) != 1 or len(later) < 2 or not told or any(later[0] in _days(date, held) for date in told):
        return ""
    return f"{_days(told[0], held)[0]}"


def _days(date: Date, held: Iterable[day_of]) -> list[day_of]:
    """Those of some days that a date can be."""
    return [day for day in held if (date.year in (None, day.year)) and (date.month, date.day) == (day.month, day.day)]
