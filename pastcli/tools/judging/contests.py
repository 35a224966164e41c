"""Who beat whom: the winner of a match by its score, and which of two is more by as much as an answer says."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .fact import Fact
from .facts import Facts
from .numbers import numbers
from .records import names
from .tables import Table
from .text import clauses, plain

_SCORE = re.compile(r"goal|scor|point|run|set|result|gam")
_WON = re.compile(r"\b(?:won|wins|win|beat|beats|defeated|victory|victorious|winners?)\b")
_LOST = re.compile(r"\b(?:lost|loses|beaten|defeated by|defeat(?!ed))\b")
_DREW = re.compile(r"\b(?:draw|drew|drawn|tie|tied)\b")
_GREATER = re.compile(
    r"\b(?:more|higher|larger|bigger|taller|longer|heavier|greater|warmer|hotter|deeper|older|dearer|(?:more )?expensive)\b(?=.*\bthan\b)"
)
_LESS = re.compile(r"\b(?:less|fewer|lower|smaller|shorter|lighter|colder|cooler|cheaper|younger)\b(?=.*\bthan\b)")


def wrong_winner(answer: str, facts: Facts) -> str:
    """Who won, where an answer says that another did or that nobody did; ''."""
    for table in facts.tables:
        scores = _scores(table)
        if table.kind != "sides" or len(scores) != 2:
            continue
        best = max(scores, key=lambda row: scores[row])
        even = len(set(scores.values())) == 1
        for clause in clauses(answer):
            said = plain(clause)
            if _DREW.search(said) and not even and not re.search(r"\bno(?:t|body)?\b", said):
                return table.rows[best].text
            winner = _said_to_win(said, table)
            if winner is not None and (even or winner != best):
                return "nobody" if even else table.rows[best].text
    return ""


def _scores(table: Table) -> dict[int, float]:
    found: dict[int, float] = {}
    for index, row in enumerate(table.rows):
        own = [
            f
            for f in row.facts
            if f.numbers and not isinstance(f.value, str) and any(_SCORE.match(part) for part in f.key)
        ]
        if own:
            found[index] = own[0].numbers[0].value
    return found


def _said_to_win(said: str, table: Table) -> int | None:
    """The side that a clause says has won: the one before "won" or "beat", or not the one before "lost"."""
    told = sorted(names(said, table), key=lambda one: one.place)
    for pattern, wins in ((_LOST, False), (_WON, True)):
        verb = pattern.search(said)
        before = [one for one in told if verb and one.place < verb.start()]
        if before:
            side = min(before[-1].rows)
            return side if wins else 1 - side
        if verb and told and wins and re.match(r"[^.]{0,20}\b(?:by|was|is)\b", said[verb.end() :]):
            return min(told[0].rows)
    return None


_GAP = re.compile(
    r"\b(?:ahead of|behind|more|less|fewer|higher|lower|larger|longer|shorter|taller|older|warmer|colder|cheaper|difference)\b"
)


def another_gap(answer: str, facts: Facts) -> str:
    """A clause that tells two things apart by what two others differ by; ''."""
    for table in facts.tables:
        held = [
            own
            for own in table.fields().values()
            if all(f.numbers and not isinstance(f.value, str) for f in own.values())
        ]
        for clause in clauses(answer) if len(table.rows) > 2 else ():
            said = plain(clause)
            told = {row for one in names(said, table) for row in one.rows}
            if len(told) != 2 or not _GAP.search(said):
                continue
            one, other = sorted(told)
            for number in numbers(said):
                known = any(number.is_rounding_of(f.numbers[0].value) for own in held for f in own.values())
                gaps = [_gaps(own) for own in held]
                here = [gap.get((one, other)) for gap in gaps]
                if (
                    known
                    or number.kind == "ordinal"
                    or number.unit
                    or any(g is not None and number.is_rounding_of(g) for g in here)
                ):
                    continue
                if any(number.is_rounding_of(value) for gap in gaps for value in gap.values() if value):
                    return clause
    return ""


def _gaps(held: Mapping[int, Fact]) -> dict[tuple[int, int], float]:
    values = {index: fact.numbers[0].value for index, fact in held.items()}
    return {(a, b): abs(values[a] - values[b]) for a in values for b in values if a < b}


def wrong_way(answer: str, facts: Facts) -> str:
    """A clause that says of one of two things that it is more than the other by as much as it is less; ''."""
    for table in facts.tables:
        for clause in clauses(answer):
            said = plain(clause)
            up, down = _GREATER.search(said), _LESS.search(said)
            told = sorted(names(said, table), key=lambda one: one.place)
            if bool(up) == bool(down) or len(told) != 2 or told[0].rows == told[1].rows:
                continue
            verb = up or down
            if verb is None or not told[0].place < verb.start() < told[1].place:
                continue
            (one,), (other,) = told[0].rows, told[1].rows
            for held in table.fields().values():
                if one in held and other in held and held[one].numbers and held[other].numbers:
                    gap = held[one].numbers[0].value - held[other].numbers[0].value
                    by_so_much = any(number.is_rounding_of(abs(gap)) for number in numbers(said))
                    if gap and by_so_much and (gap > 0) != bool(up):
                        return clause
    return ""
