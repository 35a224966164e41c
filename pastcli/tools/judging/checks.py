"""Does an answer answer? Values bound to the wrong thing, the wrong end of a superlative, what was asked for left out, and dumps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from .claims import Reading, equal, mentions
from .facts import Fact, Facts, keyed
from .numbers import numbers
from .text import clauses, phrase, plain, stem, stems, words

_SUPERLATIVES = (
    (r"cheapest|lowest price|least expensive|lowest fare|best price", r"pric|fare|cost|amount|rate|fee", min),
    (r"most expensive|dearest|priciest|highest price", r"pric|fare|cost|amount|rate|fee", max),
    (
        r"best rated|highest rated|rated best|best rating|highest rating|top rated|rated highest|highest score",
        r"rat|scor|star",
        max,
    ),
    (r"worst rated|lowest rated|lowest rating", r"rat|scor|star", min),
    (r"fastest|quickest|shortest", r"minut|duration|hour|second|time", min),
    (r"longest", r"minut|duration|hour|length|runtim", max),
    (r"nearest|closest", r"distanc|km|mile|meter|metre", min),
    (r"tallest|highest(?! (?:price|rat|score))", r"height|elevation|altitude", max),
    (r"newest|most recent|latest", r"year|releas|publish", max),
    (r"oldest", r"year|releas|publish|found", min),
)
_GENERIC = frozenset(
    map(
        stem,
        "id name type title date time status result data number code url link key value day year description info details list item text language country city".split(),
    )
)
LONG_DUMP, MANY = 300, 20
"""Characters of a response copied as JSON, or values of which four in five are repeated, from which an answer is a dump."""


def misbound(answer: str, facts: Facts) -> list[str]:
    """Numbers that were observed, but of something else: of another field than the clause names, or of another record."""
    found: list[str] = []
    by_key = keyed([fact for fact in facts.facts if fact.numbers and fact.key])
    for clause in clauses(answer):
        for piece in re.split(r",\s|\band\b", plain(clause)):
            claimed = [n for n in numbers(piece) if n.kind in ("number", "percent")]
            if len(claimed) != 1:
                continue
            said = set(stems(piece))
            named = [key for key in by_key if key[-1] not in _GENERIC and set(key) <= said]
            if len(named) == 1 and not _value_of(claimed[0], by_key[named[0]]):
                others = [key for key in by_key if key != named[0] and _value_of(claimed[0], by_key[key])]
                if others:
                    found.append(f"{claimed[0].text} is not the {' '.join(named[0])}")
        found += _other_record(clause, facts)
    return found


def _value_of(number: Any, facts: Iterable[Fact]) -> bool:
    return any(equal(number, known) for fact in facts for known in fact.numbers)


def _other_record(clause: str, facts: Facts) -> list[str]:
    """Numbers of a clause that names exactly one of several records, where only another record has them in that field."""
    records = facts.records
    said = phrase(clause)
    named = [place for place, fields in records.items() if any(mentions(said, fact) for fact in fields)]
    if len(records) < 2 or len(named) != 1:
        return []
    own, found = records[named[0]], []
    for number in numbers(clause):
        if (
            number.kind not in ("number", "percent")
            or _value_of(number, own)
            or any(equal(number, n) for n in facts.asked.numbers)
        ):
            continue
        elsewhere = [
            fact
            for place, fields in records.items()
            if place != named[0]
            for fact in fields
            if _value_of(number, [fact])
        ]
        inside = [
            fact for fact in facts.facts if fact.record[: len(named[0])] == named[0] and _value_of(number, [fact])
        ]
        if elsewhere and not inside and not re.search(r"\b(than|ahead|behind|more|less|difference)\b", plain(clause)):
            found.append(f"{number.text} belongs to another")
    return found


def wrong_end(answer: str, facts: Facts) -> str:
    """What an answer to "the cheapest" (longest, best rated, …) should have been, if it names another record only; else ''."""
    asked, said, answered = plain(facts.asked.text), plain(answer), phrase(answer)
    records = facts.records
    for pattern, field, pick in _SUPERLATIVES:
        if not re.search(rf"\b(?:{pattern})\b", asked) and not re.search(rf"\b(?:{pattern})\b", said):
            continue
        held = {place: _field(fields, field) for place, fields in records.items()}
        valued = {place: value for place, value in held.items() if value is not None}
        if len(valued) < 2:
            continue
        best = pick(valued.values())
        named = [
            place for place in valued if any(_is_name(fact) and mentions(answered, fact) for fact in records[place])
        ]
        if named and not any(valued[place] == best for place in named):
            return next(
                (
                    fact.text
                    for place, value in valued.items()
                    if value == best
                    for fact in records[place]
                    if _is_name(fact)
                ),
                str(best),
            )
    return ""


def _is_name(fact: Fact) -> bool:
    return isinstance(fact.value, str) and bool(
        set(fact.key) & {"name", "titl", "id", "team", "ship", "hotel", "product", "airlin"}
    )


def _field(fields: Sequence[Fact], pattern: str) -> float | None:
    return next(
        (
            fact.numbers[0].value
            for fact in fields
            if fact.numbers and any(re.match(pattern, part) for part in fact.key)
        ),
        None,
    )


def unanswered(facts: Facts, reading: Reading, right: set[tuple[str, ...]]) -> tuple[list[str], int]:
    """(fields that the query names and the answer leaves out, how many it names): only fields with something new to tell."""
    asked = set(stems(facts.asked.text))
    wanted: dict[tuple[str, ...], list[Fact]] = {}
    for key, found in keyed(facts.novel).items():
        if key and not set(key) <= _GENERIC and set(key) <= asked:
            wanted[key] = found
    people = [fact for fact in facts.novel if _names_someone(fact)] if "who" in words(facts.asked.text) else []
    if people:
        wanted[("who",)] = people
    left_out = [
        " ".join(key)
        for key, found in wanted.items()
        if key not in right and not reading.used & set(found) and not {fact.api for fact in found} & reading.counts
    ]
    return left_out, len(wanted)


def _names_someone(fact: Fact) -> bool:
    """True if a value can be the name of somebody: a few words of letters."""
    return isinstance(fact.value, str) and 0 < len(fact.content) <= 5 and not any(char.isdigit() for char in fact.text)


def is_copied(answer: str, facts: Facts) -> bool:
    """True if an answer is a response copied as JSON instead of saying what was asked."""
    if re.search(r"\bjson\b", plain(facts.asked.text)) or len(answer) < LONG_DUMP:
        return False
    squeezed = re.sub(r"[\s'\"\\]", "", answer)
    for _, response in facts.responses:
        for text in (json.dumps(response), json.dumps(response, ensure_ascii=False), str(response)):
            copied = re.sub(r"[\s'\"\\]", "", text)
            if len(copied) >= LONG_DUMP and (
                copied[:LONG_DUMP] in squeezed or copied[len(copied) // 2 :][:LONG_DUMP] in squeezed
            ):
                return True
    return _is_json(answer)


def repeats_all(facts: Facts, used: frozenset[Fact]) -> bool:
    """True if an answer repeats nearly every one of many values: it hands over what was seen, whatever was asked."""
    values = [fact for fact in facts.facts if not isinstance(fact.value, bool)]
    return len(values) >= MANY and sum(fact in used for fact in values) >= 0.8 * len(values)


def _is_json(answer: str) -> bool:
    try:
        return isinstance(json.loads(answer), (dict, list))
    except (ValueError, RecursionError):
        return False
