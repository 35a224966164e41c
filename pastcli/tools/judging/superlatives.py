"""The wrong end of a superlative: who is said to be the cheapest, tallest, newest or first, and is not by what was observed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .conditions import asked_of, satisfying
from .dates import Date, dates
from .fact import Fact
from .facts import Facts
from .numbers import VERSION
from .records import names
from .requests import place_asked
from .tables import Row, Table
from .text import clauses, phrase, plain, stem

_MONEY, _LONG = (
    r"pric|far|cost|amount|rat|fee|total|(?:nok|sek|dkk|eur|usd|gbp|chf|jpy)\Z",
    r"minut|duration|hour|second|tim|length|runtim|km|mil|distanc",
)
_SUPERLATIVES: tuple[tuple[str, str, Callable[..., float]], ...] = (
    (r"cheap(?:est|er)|lowest price|lower price|less expensive|least expensive|lowest fare|best price", _MONEY, min),
    (r"most expensive|more expensive|dearest|dearer|priciest|pricier|highest price", _MONEY, max),
    (
        r"best|best[ -]rated|better rated|highest rated|rated best|best rating|highest rating|top rated|rated highest|highest score",
        r"rat|scor|star",
        max,
    ),
    (
        r"next|earliest|soonest|first (?:one |copy |ones )?(?:is |are |be )?(?:due|to (?:leave|arrive|depart|open|start|come))",
        r"dep|tim|start|due|date|arriv|rise|at\Z",
        min,
    ),
    (r"worst rated|lowest rated|lowest rating", r"rat|scor|star", min),
    (r"fast(?:est|er)|quick(?:est|er)|short(?:est|er)", r"minut|duration|hour|second|tim", min),
    (r"longest|longer", _LONG, max),
    (r"nearest|closest|nearer|closer", r"distanc|km|mil|meter|metr", min),
    (r"strong(?:est|er)", r"mag|strength|forc|wind", max),
    (r"tall(?:est|er)|highest(?! (?:price|rat|score))", r"height|elevation|altitud", max),
    (
        r"(?:published|released|founded|built|born|opened) first|first (?:published|released)",
        r"year|releas|publish|found|born|date",
        min,
    ),
    (
        r"newest|newer|most recent|latest",
        r"year|releas|publish|receiv|creat|updat|sen[dt]|date|tim|at\Z|version|name|tag",
        max,
    ),
    (r"oldest", r"year|releas|publish|found", min),
    (
        r"larg(?:est|er)|bigg(?:est|er)|most populous|m(?:ost|ore) (?:people|inhabitants)",
        r"populat|inhabitant|area|siz",
        max,
    ),
    (r"small(?:est|er)|fewe(?:st|r) (?:people|inhabitants)|least populous", r"populat|inhabitant|area|siz", min),
    (r"heav(?:iest|ier)", r"weight|mass", max),
    (r"light(?:est|er)", r"weight|mass", min),
    (r"warm(?:est|er)|hott(?:est|er)", r"temp|max|high", max),
    (r"cold(?:est|er)|cool(?:est|er)", r"temp|min|low", min),
    (r"won|winner|winning|first place|came first|champion|leads?|at the top|top of", r"pos\Z|position|rank|plac", min),
    (r"won|winner|winning|first place|came first|most votes|leads?", r"vot|point|scor", max),
    (r"most popular|most (?:viewed|watched|followers|listeners)", r"popular|view|follower|listener", max),
)
"""(what is said, the stems of the field it is about, which end it means)."""
_THAN = re.compile(r"\b(?:than|against|versus|vs|compared|ahead of|before)\b")
_AMOUNT_OF = re.compile(
    r"\b(?:(?P<most>most|highest|largest|biggest|greatest|maximum)|(?P<least>least|fewest|lowest|smallest|minimum)) (?P<what>[^\W\d_]{3,})"
)
"""The most memory, the lowest humidity: the field is called by what is said, or by its beginning."""
_SEVERAL = {word: n for n, word in enumerate("two three four five six seven eight nine ten".split(), start=2)}


def superlative(answer: str, facts: Facts) -> tuple[str, set[Fact]]:
    """(what the answer to "the cheapest" (longer, best rated, most memory, …) is, if the answer names another thing; the values of
    those that it names rightly).

    A clause that says the superlative of one thing is taken at its word; an answer without such a clause by all it names. Where
    the query wants several ("the three strongest"), by whether all it names are among them.
    """
    asked, said = plain(facts.asked.text), plain(answer)
    if place_asked(facts.asked.text) is not None:  # "of the first entry": whatever else the query says is for the call
        return "", set()
    told: set[Fact] = set()
    for pattern, field, pick in _spoken_of(f"{asked} {said}"):
        for table in facts.tables:
            if table.kind == "sides":
                continue
            wanted = satisfying(asked_of(facts.asked.text), table)
            rows = [n for n in range(len(table.rows)) if wanted is None or n in wanted]
            valued = {n: value for n in rows if (value := _field(table.rows[n], field)) is not None}
            valued = _after_limit(valued, facts) if pattern.startswith("next") else valued
            if len(valued) < 2 or len({type(value) for value in valued.values()}) > 1:
                continue
            many = _how_many(asked, pattern)
            best = sorted(valued.values(), reverse=pick is max)[: many or 1]
            claimed = [] if many else _claimed(answer, pattern, table, list(valued))
            named = claimed or [n for n in range(len(table.rows)) if _is_named(answer, table, n)]
            right = [n for n in named if valued.get(n) in best]
            if (named and not right) or (many and len(right) < len(named) <= many):
                return next(table.rows[n].text for n, value in valued.items() if value in best), told
            told |= {fact for n in right for fact in table.rows[n].facts if len(right) == 1}
    return "", told


def _after_limit(valued: dict[int, Any], facts: Facts) -> dict[int, Any]:
    """Without what leaves before the time that the query names: "the next train after noon"."""
    limits = [min(clock.minutes) for clock in facts.asked.clocks]
    if len(limits) != 1 or not re.search(r"\b(?:after|from|later than)\b", plain(facts.asked.text)):
        return valued
    return {
        n: value for n, value in valued.items() if not isinstance(value, float) or value > 1440 or value >= limits[0]
    }


def _spoken_of(text: str) -> Iterator[tuple[str, str, Callable[..., object]]]:
    """The superlatives of a text: (pattern, the stems of the field it is about, which end it means)."""
    for pattern, field, pick in _SUPERLATIVES:
        if re.search(rf"\b(?:{pattern})\b", text):
            yield pattern, field, pick
    for match in _AMOUNT_OF.finditer(text):
        what = stem(match["what"])
        shorter = "|".join(re.escape(what[:size]) + r"\Z" for size in range(3, len(what)))
        yield (
            re.escape(match[0]),
            rf"{re.escape(what)}{f'|{shorter}' if shorter else ''}",
            max if match["most"] else min,
        )


def _how_many(asked: str, pattern: str) -> int:
    """How many of the strongest, cheapest, … a query wants; 0 for one."""
    number = rf"(\d{{1,2}}|{'|'.join(_SEVERAL)})"
    found = re.search(rf"\b{number} (?:{pattern})\b|\b{number} \w+(?: \w+){{0,6}}? (?:\w+ed first)\b", asked)
    many = (found[1] or found[2]) if found else ""
    return (int(many) if many.isdigit() else _SEVERAL[many]) if many else 0


def _claimed(answer: str, pattern: str, table: Table, rows: Sequence[int]) -> list[int]:
    """The row of which a clause says the superlative: the only one that it tells of, or the first beside "than"."""
    for clause in clauses(answer):
        said = plain(clause)
        hit = re.search(rf"\b(?:{pattern})\b", said)
        if not hit or re.search(r"\bnot\b|n't\b|\?", said):
            continue
        found = sorted(
            (where, row) for row in range(len(table.rows)) if (where := _first(clause, table, row)) is not None
        )
        if len(found) == 1 or (found and _THAN.search(said)):
            return [found[0][1]]
        behind = [row for where, row in found if where > hit.end()]
        if len(behind) == 1 and re.match(r"[\w\s]{0,30}\b(?:is|was|are|being)\b", said[hit.end() :]):
            return behind  # "…, and the latest is 11.1.0"
    return []


def _first(clause: str, table: Table, row: int) -> int | None:
    """Where a clause first tells something that only this row of them has: its name, a text, a price, a day."""
    others = [fact for n, other in enumerate(table.rows) if n != row for fact in other.facts]
    texts, shown = {fact.phrase for fact in others}, {fact.text for fact in others}
    said, plainly = phrase(clause), plain(clause)
    found = [told.place for told in names(plainly, table) if told.rows == {row}]
    for fact in table.rows[row].facts:
        if isinstance(fact.value, str) and fact.phrase.strip() and fact.phrase not in texts and fact.phrase in said:
            found.append(said.index(fact.phrase))
        elif isinstance(fact.value, float) and fact.text in clause and fact.text not in shown:
            found.append(clause.index(fact.text))
    found += [day.span[0] for day in _own_days(clause, table, row)]
    return min(found, default=None)


def _own_days(text: str, table: Table, row: int) -> list[Date]:
    """The days of a text that one row has and no other."""

    def has(index: int, day: Date) -> bool:
        return any(day.agrees(known) for fact in table.rows[index].facts for known in fact.dates)

    return [day for day in dates(text) if day.day and [n for n in range(len(table.rows)) if has(n, day)] == [row]]


def _is_named(answer: str, table: Table, row: int) -> bool:
    said = plain(answer)
    if any(row in told.rows for told in names(said, table)):
        return True
    named = any(name.strip() and any(map(str.isalpha, name)) for name in table.rows[row].names)
    return not named and bool(_own_days(answer, table, row))


def _field(row: Row, pattern: str) -> float | tuple[int, ...] | None:
    """The value of a row in a field: an amount, a moment as days, or a version."""
    for fact in row.facts:
        if any(re.match(rf"(?:{pattern})", part) for part in fact.key):
            value = _comparable(fact)
            if value is not None:
                return value
    version = VERSION.search(plain(row.text)) if re.match(rf"(?:{pattern})", "version") else None
    return _of_version(version[0]) if version else None


def _comparable(fact: Fact) -> float | tuple[int, ...] | None:
    version = VERSION.fullmatch(fact.text.strip()) if isinstance(fact.value, str) else None
    if version:
        return _of_version(version[0])
    days = [date.whole for date in fact.dates if date.whole]
    clock = min(fact.clocks[0].minutes) / 1440 if fact.clocks else 0.0
    if days:
        return days[0].toordinal() + clock
    if fact.numbers:
        return fact.numbers[0].value
    return clock * 1440 if fact.clocks else None


def _of_version(text: str) -> tuple[int, ...]:
    """3.10.0 is behind 3.9.5, whatever comes after the figures."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:4])
