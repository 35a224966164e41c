"""Does an answer answer? Or does it hand over what was observed, as JSON or in words?"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from .asked import lies_in_asked, wanted
from .fact import Fact
from .facts import Facts
from .focus import meant
from .text import plain, stem

MEASURES = frozenset(map(stem, "currency unit units scale symbol".split()))
"""Words of fields that only say what another one is counted in."""
LONG_DUMP, COPIED, MANY, SOME = 300, 20, 20, 6
"""Characters of a response copied as JSON (of a long answer, of half of a short one), or values that are nearly all repeated
(whatever was asked, and where the query names fields), from which an answer is a dump."""
LONGEST = 8000
"""Characters of an answer beyond which it is one no more."""


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
    named = set(wanted(facts)) | {fact.key for fact in meant(facts, values)}
    named |= {fact.key for fact in values if set(fact.key) <= MEASURES}
    responses: dict[str | int, list[Fact]] = {}
    for fact in values:
        responses.setdefault(fact.record[0], []).append(fact)
    for held in responses.values():
        names = {row.text for table in facts.tables for row in table.rows}
        beside = [
            f
            for f in held
            if f.text not in names and f.key not in named and not facts.echoes(f) and not lies_in_asked(f, facts)
        ]
        fields = {fact.key for fact in held}
        least = SOME if any(fact.key in named and not set(fact.key) <= MEASURES for fact in held) else 2 * SOME
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
