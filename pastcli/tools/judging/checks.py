"""Does an answer answer? Values bound to the wrong thing, the wrong end of a superlative, what was asked for left out, and dumps."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from . import names
from .asked import GENERIC, lies_in_asked, wanted
from .claims import equal, mentions
from .facts import Fact, Facts, keyed
from .numbers import numbers
from .text import clauses, phrase, plain, stems

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
LONG_DUMP, COPIED, MANY, SOME = 300, 20, 20, 6
"""Characters of a response copied as JSON (of a long answer, of half of a short one), or values that are nearly all repeated
(whatever was asked, and where the query names fields), from which an answer is a dump."""
LONGEST = 8000
"""Characters of an answer beyond which it is one no more."""


def misbound(answer: str, facts: Facts) -> list[str]:
    """Numbers that were observed, but of something else: of another field than the clause names, or of another record."""
    found: list[str] = []
    by_key = keyed([fact for fact in facts.facts if fact.numbers and fact.key])
    none: frozenset[str] = frozenset()
    money = {key: _currencies(names.meanings(held[0].name)) for key, held in by_key.items()}
    for clause in clauses(answer):
        meant = _currencies(names.mentioned(clause.strip(" .!?").split())) if any(money.values()) else none
        for piece in re.split(r",\s|\band\b", plain(clause)):
            claimed = [n for n in numbers(piece) if n.kind in ("number", "percent")]
            if len(claimed) != 1:
                continue
            said = set(stems(piece))
            named = [
                key for key in by_key if key[-1] not in GENERIC and (set(key) <= said or money.get(key, none) & meant)
            ]
            if len(named) == 1 and not _value_of(claimed[0], by_key[named[0]]):
                others = [key for key in by_key if key != named[0] and _value_of(claimed[0], by_key[key])]
                if others:
                    found.append(f"{claimed[0].text} is not the {' '.join(named[0])}")
        found += _other_record(clause, facts)
    return found


def _currencies(meanings: frozenset[str]) -> frozenset[str]:
    return frozenset(meaning for meaning in meanings if meaning.startswith("currency:"))


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


def is_dump(answer: str, facts: Facts, used: frozenset[Fact]) -> bool:
    """True if an answer hands over what was observed instead of saying what was asked, as JSON or in words, in whatever length."""
    json_asked = bool(re.search(r"\bjson\b", plain(facts.asked.text)))
    copied = _is_copied(answer, facts) or _holds_json(answer, facts) or _is_response(answer, facts)
    return (copied and not json_asked) or _repeats_all(facts, used)


def _is_copied(answer: str, facts: Facts) -> bool:
    """True if an answer holds a long piece of a response's JSON, or is long JSON."""
    if len(answer) < LONG_DUMP:
        return False
    squeezed = _squeezed(answer)
    for _, response in facts.responses:
        for text in (json.dumps(response), json.dumps(response, ensure_ascii=False), str(response)):
            copied = _squeezed(text)
            if len(copied) >= LONG_DUMP and (
                copied[:LONG_DUMP] in squeezed or copied[len(copied) // 2 :][:LONG_DUMP] in squeezed
            ):
                return True
    return isinstance(_parsed(answer), (dict, list))


def _holds_json(answer: str, facts: Facts) -> bool:
    """True if half of the answer, and `COPIED` characters at least, are one stretch of a response with two of its JSON keys."""
    said = _squeezed(answer)
    for _, response in facts.responses:
        shown = _squeezed(json.dumps(response, ensure_ascii=False))
        if re.search(r"\w:.*,\w+:", _shared(said, shown, max(COPIED, (len(said) + 1) // 2))):
            return True
    return False


def _shared(said: str, shown: str, least: int) -> str:
    """The first stretch of at least so many characters that stands in both texts, as long as it goes on; ''."""
    for start in range(len(said) - least + 1):
        place = shown.find(said[start : start + least])
        if place >= 0:
            size = least
            while said[start + size : start + size + 1] == shown[place + size : place + size + 1] != "":
                size += 1
            return said[start : start + size]
    return ""


def _is_response(answer: str, facts: Facts) -> bool:
    """True if an answer is an object of JSON (or Python) that a tool returned, or one inside of it."""
    found = _parsed(answer)
    if isinstance(found, dict) and found.keys() == {"error", "response"}:
        found = found["response"]
    if not found or not isinstance(found, (dict, list)):
        return False
    pending: list[Any] = [response for _, response in facts.responses]
    while pending:
        item = pending.pop()
        if isinstance(item, dict) and (item == found or [item] == found):
            return True
        pending += item.values() if isinstance(item, dict) else item if isinstance(item, list) else []
    return any(found == [response for _, response in facts.responses[-n:]] for n in range(1, len(facts.responses) + 1))


def _repeats_all(facts: Facts, used: frozenset[Fact]) -> bool:
    """True if an answer repeats nearly every one of many values: it hands over what was seen, whatever was asked.

    Of one response, fewer values are many where they are of several fields and the query names less than half of them.
    """
    values = [fact for fact in facts.facts if not isinstance(fact.value, bool)]
    if len(values) >= MANY and sum(fact in used for fact in values) >= 0.8 * len(values):
        return True
    named = set(wanted(facts))
    responses: dict[str | int, list[Fact]] = {}
    for fact in values:
        responses.setdefault(fact.record[0], []).append(fact)
    for held in responses.values():
        beside = [f for f in held if f.key not in named and not facts.echoes(f) and not lies_in_asked(f, facts)]
        fields = {fact.key for fact in held}
        least = SOME if any(fact.key in named for fact in held) else 2 * SOME
        many = len(held) >= least and len(fields) > 3 and len(beside) > 0.5 * len(held)
        if many and sum(fact in used for fact in held) >= 0.9 * len(held):
            return True
    return False


def _squeezed(text: str) -> str:
    """Without spaces, quotes and backslashes: JSON in JSON."""
    return re.sub(r"[\s'\"\\]", "", text)[:LONGEST]


def _parsed(answer: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(answer.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return None
