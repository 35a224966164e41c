"""Does an answer state the one that was expected? Stated once and for all: not denied, not one of several to choose from.

Whoever lists all that it could be, or says "either … or", has the right words and no answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...qa import contains
from .facts import Facts
from .numbers import Number, equal, numbers
from .sources import Said
from .text import clauses, phrase, plain, stem, stems, words

LISTED = 4
"""Items of an enumeration, one of them the expected one, from which it is a list of guesses."""
MANY = 6
"""Values of one kind, though all observed, from which an answer hands over everything."""

_NOT = re.compile(r"\b(?:not|no|never|neither|nor|without|hardly|nothing|cannot)\b|n't\b")
_UNLESS = re.compile(r"\b(?:only|until|before|less|more|later|earlier|doubt|problem|just|than)\b")
_WRONG = re.compile(
    r"\W*(?:(?:is|was|are|were|would be|seems)\s+(?:wrong|false|incorrect|untrue|not\b)|(?:isn't|wasn't|aren't)\b)"
)
_OR_NUMBER = re.compile(r"\d[^.;\n]{0,20}\bor\b(?! so)[^.;\n]{0,12}\d")
_POLAR = {"yes": True, "true": True, "no": False, "false": False}


def unstated(answer: str, expected: str, facts: Facts) -> str:
    """Why an answer does not state the expected one; '' if it does. `facts` are what the run observed and was asked."""
    if plain(expected).strip(" .!") in _POLAR:
        said = {_POLAR[word] for word in words(answer) if word in _POLAR}
        return "" if said == {_POLAR[plain(expected).strip(" .!")]} else "the answer is not the expected one"
    if not _holds(answer, expected):
        return "the answer is not the expected one"
    stating = [clause for clause in clauses(answer) if _holds(clause, expected)]
    if stating and not _NOT.search(plain(expected)) and all(_denied(clause, expected) for clause in stating):
        return "the answer denies the expected one"
    asked = plain(f"{facts.asked.text} {expected}")
    if not re.search(r"\bor\b", asked) and any(_is_choice(clause, expected) for clause in stating or clauses(answer)):
        return "the answer leaves a choice"
    if _rivals(answer, expected, facts) or any(_is_list(clause, expected) for clause in stating):
        return "the answer names other values as well"
    return ""


def _holds(text: str, expected: str) -> bool:
    """True if a text has the expected words in a row, or all its numbers, dates and times and its other words."""
    if not words(expected):
        return expected.strip() in text
    if re.fullmatch(r"\d+\W+\d+", plain(expected).strip()) and not Said(expected).clocks:
        return phrase(expected) in phrase(text)  # a score: its order is what it says
    source, wanted = Said(text), Said(expected)
    measured = wanted.numbers or wanted.dates or wanted.clocks
    if not measured:
        return bool(contains(text, [expected]))
    held = all(any(equal(own, number) for own in numbers(text)) for number in numbers(expected))
    held = held and all(any(day.agrees(own) for own in source.dates) for day in wanted.dates)
    held = held and all(any(time.minutes & own.minutes for own in source.clocks) for time in wanted.clocks)
    rest = [word for word in stems(expected) if word.isalpha() and len(word) > 2]
    spoken = set(stems(text))
    return held and 2 * sum(word in spoken for word in rest) >= len(rest)


def _denied(clause: str, expected: str) -> bool:
    """True if a clause says that it is not the expected one: "not 42 crowns", "Oslo is wrong"."""
    said = re.sub(r"\A\W*(?:no|not really|sorry)\s*,", "", plain(clause))
    first = words(expected)[:1] or ("",)
    place = said.find(first[0])
    place = place if place >= 0 else len(said)
    before, after = said[:place], said[place + len(plain(expected)) :]
    found = list(_NOT.finditer(before))
    return (bool(found) and not _UNLESS.search(before[found[-1].end() :])) or bool(_WRONG.match(after))


def _is_choice(clause: str, expected: str) -> bool:
    """True if a clause offers the expected value beside another: "42 or 43", "Oslo or Bergen"."""
    if numbers(expected, apart=False) and _OR_NUMBER.search(plain(clause)):
        return True
    wanted = phrase(expected).strip()
    return (
        bool(wanted)
        and re.search(rf"\bor {re.escape(wanted)}\b|\b{re.escape(wanted)} or\b(?! so)", phrase(clause)) is not None
    )


def _is_list(clause: str, expected: str) -> bool:
    """True if a clause enumerates names, the expected one among them."""
    items = [
        item.strip() for item in re.split(r",|;|/|\band\b|\bor\b|\n", re.sub(r"\A.*?:\s", "", clause)) if item.strip()
    ]
    short = [item for item in items if item[:1].isupper() and len(words(item)) <= 3]
    mine = [item for item in short if phrase(expected) in phrase(item)]
    return len(mine) == 1 and len(short) >= LISTED and len(short) == len(items)


def _rivals(answer: str, expected: str, facts: Facts) -> bool:
    """True if an answer gives other numbers of the expected one's kind: any that nobody said, or many that were observed."""
    wanted, said = _labelled(expected), plain(answer)
    found = _labelled(answer)
    if not wanted or not found:
        return False
    label = wanted[0][1]
    others = [number for number, own in found if own == label and not any(equal(number, right) for right, _ in wanted)]
    others = [number for number in others if not any(equal(number, asked) for asked in facts.asked.numbers)]
    known: Callable[[Number], bool] = lambda n: any(equal(n, fact) for one in facts.facts for fact in one.numbers)  # noqa: E731
    guessed = [number for number in others if not known(number) and number.text not in _terms(said)]
    return len(guessed) > (0 if label else 2) or len({number.value for number in others}) >= MANY * len(wanted)


def _labelled(text: str) -> list[tuple[Number, str]]:
    """The numbers of a text with what they count: the stem of the word behind, '' for none."""
    said = plain(text)
    found = []
    for number in numbers(said):
        if number.kind in ("number", "percent"):
            after = re.match(r"\W{0,2}([^\W\d_]+)", said[number.span[1] :])
            found.append((number, stem(after[1]) if after else ""))
    return found


def _terms(said: str) -> str:
    """The left sides of equations: what a sum is made of is no rival of it."""
    return " ".join(re.findall(r"[-+*/×x·()\d., ]+(?==|≈)", said))
