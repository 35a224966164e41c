"""How many there are, and whether there are any: what an answer says of amounts that the query asks about."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .conditions import expected_count
from .fact import Fact
from .facts import Facts
from .numbers import numbers
from .opposites import NEGATED
from .stance import denies
from .text import clauses, plain, sentences, stem, words

_WHETHER = re.compile(r"\b(?:whether|if|does|do|is|are|has|have|any)\b")
_NONE_OF = re.compile(r"\b(?:free|zero|0)\b|-free\b")
_NUMBERED = re.compile(r"(?:is|are|[:=])\s*(?:0|zero|none|no)\b")


def amounts_denied(answer: str, facts: Facts) -> list[str]:
    """What an answer says there is, and there is none of, or the other way round: palm oil, where the query asks whether."""
    wrong = []
    for thing, some in _asked_for(facts).items():
        for clause in clauses(answer):
            said = plain(clause)
            place = said.find(thing)
            if place < 0 or re.search(r"\d", said[:place] + said[place + len(thing) :].partition(",")[0]):
                continue
            denied = bool(
                NEGATED.search(said[:place])
                or _NONE_OF.search(said)
                or _NUMBERED.match(said[place + len(thing) :].strip())
            )
            if denied == some:
                wrong.append(f"{'some' if some else 'no'} {thing}")
    return wrong


def _asked_for(facts: Facts) -> dict[str, bool]:
    """The things that counted fields end in and that the query asks for by a yes or no: whether there are any."""
    found: dict[str, bool] = {}
    for fact in facts.novel:
        name = words(fact.name)
        if not _counts(fact) or len(name) < 2:
            continue
        thing = " ".join(name[-2:])
        if any(_WHETHER.search(before) for before in _before(thing, facts)):
            found[thing] = fact.value != 0
    return found


def _counts(fact: Fact) -> bool:
    return isinstance(fact.value, int) and not isinstance(fact.value, bool) and not fact.unit


def _before(thing: str, facts: Facts) -> list[str]:
    """What the query says before it names a thing, sentence by sentence."""
    said = (plain(sentence) for sentence in sentences(facts.asked.text))
    return [sentence[: sentence.find(thing)] for sentence in said if thing in sentence]


def miscounted(answer: str, facts: Facts) -> list[str]:
    """A count that an answer gives of what the query counts, where there are another number of them."""
    expected = expected_count(facts)
    if expected is None:
        return []
    many, question = expected
    things = _counted_things(question)
    told = []
    for clause in clauses(answer):
        said = plain(clause)
        for number in numbers(said):
            if number.kind in ("word", "number") and not number.unit and number.value == int(number.value) < 1000:
                after = {stem(word) for word in words(said[number.span[1] :])[:6]}
                before = {stem(word) for word in words(said[: number.span[0]])[-4:]}
                alone = not words(said[: number.span[0]])
                if alone or (after | before) & things:
                    told.append(int(number.value))
    if not told or many in told or (many == 0 and denies(answer)):
        return []
    return [f"there are {many}"]


_LEFT = re.compile(r"\b(?:left|remain\w*|free|available|vacant|spare|unused)\b")
_ALL = frozenset(map(stem, "capacity total max maximum limit seats size quota places spaces".split()))
_TAKEN = frozenset(map(stem, "booked used sold taken reserved occupied registered spent consumed filled".split()))


def left_over(value: float, clause: str, facts: Facts) -> set[Fact] | None:
    """The capacity and what is booked of it, of which so many are left; None."""
    if not _LEFT.search(plain(clause)):
        return None
    for one, other in _capacities(facts):
        if value == one.numbers[0].value - other.numbers[0].value:
            return {one, other}
    return None


def taken_for_left(answer: str, facts: Facts) -> list[str]:
    """What an answer says is left, and is what is taken."""
    pairs = list(_capacities(facts))
    for clause in clauses(answer) if pairs else ():
        said = plain(clause)
        for number in numbers(said):
            beside = re.match(
                r"(?:\s\w+){0,3}?\s(?:are |is )?(?:still )?(?:left|remain\w*|free|available|vacant)\b",
                said[number.span[1] :],
            )
            for one, other in pairs if beside else ():
                if number.value == other.numbers[0].value != one.numbers[0].value - other.numbers[0].value:
                    return [f"{number.text} are taken"]
    return []


def not_all(answer: str, facts: Facts) -> list[str]:
    """The whole number of which an answer says that all are so, where only some are: all 20 lifts, of which 17 are open."""
    records: dict[object, list[Fact]] = {}
    for fact in facts.facts:
        if _counts(fact):
            records.setdefault(fact.record, []).append(fact)
    wholes = [
        (int(one.value), [other.value for other in held if other is not one and 0 <= other.value < one.value])
        for held in records.values()
        for one in held
        if len(held) > 1 and set(one.key) & _ALL
    ]
    for whole, parts in wholes:
        said = re.search(rf"\ball (?:of the |the )?{whole}\b", plain(answer))
        if said and parts and not any(number.value in parts for number in numbers(answer)):
            return [f"not all {whole}"]
    return []


def _capacities(facts: Facts) -> Iterator[tuple[Fact, Fact]]:
    records: dict[object, list[Fact]] = {}
    for fact in facts.facts:
        if isinstance(fact.value, (int, float)) and fact.numbers and set(fact.key) & (_ALL | _TAKEN):
            records.setdefault(fact.record, []).append(fact)
    for held in records.values():
        for one in held:
            for other in held:
                if set(one.key) & _ALL and set(other.key) & _TAKEN and one is not other:
                    yield one, other


def _counted_things(question: str) -> set[str]:
    """The stems of what a question counts, and of what it says of them: repositories, written."""
    found = re.search(r"\b(?:how many|number of)\b(.*)", plain(question))
    return {stem(word) for word in words(found[1]) if len(word) > 3} if found else set()
