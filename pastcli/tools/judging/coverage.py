"""What an answer owes: the whole of a list that the query wants whole, as many as it asks for, a yes or no to each question, and what
is to be worked out of what was observed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence, Set

from .computed import computed
from .conditions import PARTS, satisfying
from .fact import Fact
from .facts import Facts
from .numbers import equal, numbers
from .opposites import says_either
from .records import names
from .requests import place_asked
from .spans import counts_things
from .stance import affirms, denies
from .tables import Table
from .text import clauses, content, phrase, plain, stem, stems, words

MOST = 15
"""Items of a list that an answer may be expected to give whole."""
_WHOLE = re.compile(
    r"(?:\A\W*|please |you |and |to |me )list\b|\b(?:which|what are|all|every|each|names? of|name the|who are|tell me the|give me the|show me the|complete|full)\b"
)
_SOME = re.compile(
    r"\b(?:some|any|few|an?|one|best|most|least|top|first|last|next|latest|newest|cheapest|example|suggest\w*|recommend\w*|good|\w{3,}est|compare)\b"
)
_NARROWS = re.compile(
    r"\b(?:that|who|whose|with|under|over|above|below|between|within|near|before|after|until|without|if|only|less|more)\b"
)
_WHETHER = re.compile(
    r"\A\W*(?:and\s|also,?\s)?(?:is|are|was|were|has|have|does|do|did|can|will)\s(?!you\b|there\b|i\b|we\b)"
)
_GAP = re.compile(
    r"\b(?:difference|differ|by how (?:much|many)|how (?:much|many) (?:\w+ )?(?:more|less|fewer|higher|lower|larger|bigger|taller|longer|older|warmer|colder|ahead|cheaper))\b"
)
_TOTAL = re.compile(
    r"\b(?:in total|altogether|total of|sum of|combined|all together|total amount|total cost|total price)\b"
)
_MEAN = re.compile(r"\b(?:average|mean)\b")


def owing(answer: str, facts: Facts, used: Set[Fact]) -> str:
    """Something that an answer owes and does not give; ''."""
    return (
        _call_left_out(answer, facts, used)
        or _item_left_out(answer, facts, used)
        or _too_few(answer, facts, used)
        or _question_left_open(answer, facts)
        or _not_worked_out(answer, facts)
    )


# ---------------------------------------------------------------- lists


_CHOOSES = re.compile(
    r"\b(?:compare|difference|differ|total|altogether|average|more|less|better|best|most|least|than|or|\w{3,}est|cheaper|taller|longer|larger|bigger|higher|lower|older|younger|warmer|colder|faster|heavier|lighter|closer|nearer|smaller|shorter|stronger|newer|grow|rise)\b"
)


def _call_left_out(answer: str, facts: Facts, used: Set[Fact]) -> str:
    """What one of several calls of an API was made for and the query names ("into Portuguese and into Finnish"), where the answer
    tells what others said and nothing of this one. A query that compares or adds may be answered by one of them, or none."""
    asked = plain(facts.asked.text)
    for table in facts.tables if not _CHOOSES.search(asked) else ():
        if table.kind != "calls" or any(row.facts and row.facts[0].api < 0 for row in table.rows):
            continue
        wanted = [n for n, row in enumerate(table.rows) if any(name in phrase(asked) for name in row.names)]
        said = {row for told in names(plain(answer), table) for row in told.rows}
        told = [n for n in wanted if n in said or any(fact in used for fact in table.rows[n].facts)]
        if told and len(told) < len(wanted):
            return next(table.rows[n].text for n in wanted if n not in told)
    return ""


def _item_left_out(answer: str, facts: Facts, used: Set[Fact]) -> str:
    """An element of a list that the query wants whole, or of those in it that it wants, where the answer tells others."""
    parts = re.split(PARTS, facts.asked.text)
    parts = [part for part in parts if _WHOLE.search(plain(part)) and not re.search(r"\bhow many\b", plain(part))]
    one = re.search(r"\b(?:just|only) (?:the|one|an?)\b", plain(facts.asked.text))
    if one or place_asked(facts.asked.text) is not None:
        return ""
    for part in parts:
        said = words(part)
        joined = [one + other for one, other in itertools.pairwise(said)]  # zip codes: `zipcodes`
        plurals = {stem(word) for word in (*said, *joined) if word.endswith("s") and len(word) > 3}
        for items, called in _plain_lists(facts):
            if plurals & called and not _SOME.search(plain(part)):
                told = [fact for fact in items if _is_told(fact, answer, used)]
                if told and len(told) < len(items):
                    return next(fact.text for fact in items if fact not in told)
        for table in facts.tables:
            rows = _wanted_rows(part, table, plurals, facts) if table.kind == "list" else ()
            told_rows = [n for n in rows if _tells_row(table, n, answer, facts, used)]
            if told_rows and len(told_rows) < len(rows):
                return next(table.rows[n].text for n in rows if n not in told_rows)
    return ""


def _plain_lists(facts: Facts) -> list[tuple[list[Fact], set[str]]]:
    """(the values of each list of plain values, the stems of what it may be called)."""
    lists: dict[tuple[object, ...], list[Fact]] = {}
    for fact in facts.facts:
        if (
            isinstance(fact.record[-1], int)
            and fact.record not in facts.elements
            and len(fact.record) > 1
            and fact.api >= 0
            and not isinstance(fact.value, bool)
        ):
            lists.setdefault(fact.record[:-1], []).append(fact)
    found = []
    for place, items in lists.items():
        if 2 <= len(items) <= MOST and sum(isinstance(part, int) for part in place) == 1:
            found.append((items, {*items[0].key, *_topic(facts, int(items[0].record[0]))}))
    return found


def _topic(facts: Facts, response: int) -> set[str]:
    """The stems of what an API is called, also where two words are written as one."""
    name = words(facts.names[response - 1])
    return {*stems(facts.names[response - 1]), *(stem(a + b) for a, b in itertools.pairwise(name))}


def _wanted_rows(part: str, table: Table, plurals: set[str], facts: Facts) -> Sequence[int]:
    """The rows that a question wants all of: those that meet its condition, or all where it sets none."""
    place = table.rows[0].place
    around = {stem(word) for key in place[1:] if isinstance(key, str) for word in words(key)}
    if len(table.rows) > MOST or not plurals & {*around, *_topic(facts, int(place[0]))} or _SOME.search(plain(part)):
        return ()
    wanted = satisfying(part, table)
    if wanted is not None:
        return sorted(wanted)
    return () if _NARROWS.search(plain(part)) else range(len(table.rows))


def _tells_row(table: Table, row: int, answer: str, facts: Facts, used: Set[Fact]) -> bool:
    said, own = phrase(answer), table.rows[row]
    texts = (fact for fact in facts.elements.get(own.place, ()) if isinstance(fact.value, str))
    return (
        any(name in said for name in own.names)
        or _is_worded(own.text, answer)
        or any(_is_told(fact, answer, used) for fact in texts)
    )


def _is_told(fact: Fact, answer: str, used: Set[Fact]) -> bool:
    """True if an answer tells a value: as it stands, by what it means, or most of its words in another order."""
    return fact in used or fact.phrase in phrase(answer) or _is_worded(fact.text, answer)


def _is_worded(text: str, answer: str) -> bool:
    own = {part for part in content(text) if part.isalpha()}
    return bool(own) and len(own & set(stems(answer))) >= 0.6 * len(own)


def _too_few(answer: str, facts: Facts, used: Set[Fact]) -> str:
    """How many things the query asks for ("three random facts"), where a list has as many and the answer tells fewer."""
    asked = facts.asked.text
    for number in facts.asked.numbers:
        if (
            number.kind not in ("number", "word")
            or not 2 <= number.value <= MOST
            or not counts_things(asked, number.span)
        ):
            continue
        things = {stem(word) for word in words(asked[number.span[1] :])[:3]}
        for table in facts.tables:
            place = table.rows[0].place
            named = {stem(word) for key in place[1:] if isinstance(key, str) for word in words(key)} | _topic(
                facts, int(place[0])
            )
            all_there_are = len(table.rows) == number.value and len(facts.tables) == 1
            if table.kind != "list" or not (things & named or all_there_are) or len(table.rows) < number.value:
                continue
            if satisfying(asked, table) is not None:  # which of the three are closed
                continue
            told = [n for n in range(len(table.rows)) if _tells_row(table, n, answer, facts, used)]
            if 0 < len(told) < number.value:
                return f"{number.text} {' '.join(sorted(things & named))}"
    return ""


# ---------------------------------------------------------------- questions


def _question_left_open(answer: str, facts: Facts) -> str:
    """One of several questions that is to be answered by yes or no, and of which the answer says neither and no word."""
    parts = [part for part in re.split(PARTS, facts.asked.text) if "?" in part or _WHETHER.match(plain(part))]
    if len(parts) < 2 or denies(answer) or affirms(answer) or re.search(r"\byes\b", plain(answer)):
        return ""
    said = set(stems(answer)) | {word[:5] for word in words(answer)}
    earlier: set[str] = set()
    for part in parts:
        own = {word for word in content(part) if len(word) > 2} - earlier
        earlier |= own
        if says_either(part, answer):
            continue
        if _WHETHER.match(plain(part)) and own and not own & said and not {word[:5] for word in own} & said:
            return " ".join(sorted(own)[:2])
    return ""


# ---------------------------------------------------------------- workings


def _not_worked_out(answer: str, facts: Facts) -> str:
    """A difference, a total or a mean that the query asks for, where an answer gives no number but observed ones."""
    asked = plain(facts.asked.text)
    wanted = next((name for name, pattern in _WORKINGS.items() if pattern.search(asked)), "")
    if not wanted or any(_is_field_of(fact, wanted) for fact in facts.facts) or not _has_several_amounts(facts):
        return ""
    for clause in clauses(answer):
        for number in numbers(clause):
            if any(equal(number, known) for fact in facts.facts for known in fact.numbers) and number.kind != "percent":
                continue
            if (
                computed(number, f"{clause} {wanted} than total average", facts, answer) is not None
                or number.kind == "percent"
            ):
                return ""
    return "" if _says_none(answer) else wanted


_WORKINGS = {"difference": _GAP, "total": _TOTAL, "average": _MEAN}


def _is_field_of(fact: Fact, wanted: str) -> bool:
    words_of = {"difference": "differ gap chang delta", "total": "total sum", "average": "averag mean avg rat scor"}[
        wanted
    ]
    return any(part.startswith(start) for part in fact.key for start in words_of.split())


def _has_several_amounts(facts: Facts) -> bool:
    """True if a table has a field of amounts that differ."""
    return any(
        len({fact.numbers[0].value for fact in held.values() if fact.numbers and not isinstance(fact.value, str)}) > 1
        for table in facts.tables
        for key, held in table.fields().items()
        if not {"id", "year", "lat", "lon"} & set(key)
    )


def _says_none(answer: str) -> bool:
    parts = r"hal(?:f|ves)|thirds?|quarters?|fifths?|tenths?|doubl\w+|twice|tripl\w+"
    return re.search(rf"\b(?:same|equal\w*|no difference|identical|{parts})\b|=", plain(answer)) is not None
