"""What is kept: what the passage carries, what makes sense without it, and what was not said before.

These are checks of words and figures, not of truth: they catch what is made up out of nothing (a number or a name that
the passage does not have), what leans on a passage that the reader will not see, and repetition.
"""

from __future__ import annotations

import math
import re

from ... import qa

NEAR = 0.8
"""Jaccard similarity of word triples from which two texts are the same (Broder 1997)."""

_LEANS = re.compile(
    r"\b(?:this|the|that|above|given) (?:passage|text|document|article|paragraph|excerpt|section|author|project|study)\b|"
    r"\baccording to (?:the|this) (?:passage|text)\b|\bthe above\b|\bmentioned (?:above|here)\b",
    re.I,
)
_NUMBER = re.compile(r"\d[\d.,:/]*\d|\d")
_STOP = frozenset(
    """a an the and or but if of to in on at by for from with as is are was were be been being it its this that these those he she
    they them his her their who whom whose which what when where why how does do did has have had not no than then so such can
    could would should may might will into about between during after before over under also more most many much one two some any
    all each other another""".split()
)


def content(text: str) -> set[str]:
    """The words that carry meaning, normalised as answers are."""
    return {word for word in qa.spelled(text).split() if word not in _STOP}


def _words(text: str) -> int:
    """How many words a text has, by spaces; where it has none between words, by characters."""
    return max(len(text.split()), len(qa.spelled(text).split()))


def statement(text: str, passage: str, title: str) -> str:
    """Why a statement is rejected; '' if it is kept."""
    if _words(text) < 4:
        return "too short"
    if _LEANS.search(text):
        return "leans on the passage"
    return _grounded(text, f"{title} {passage}")


def pair(question: str, answer: str, passage: str, title: str, short: bool) -> str:
    """Why a question with its answer is rejected; '' if both are kept. `short`: the answer must stand in the passage."""
    if not question.endswith(("?", "？", "؟")):
        return "no question"
    if not 3 <= _words(question) <= 60:
        return "question too short or too long"
    if _LEANS.search(question):
        return "leans on the passage"
    source = f"{title} {passage}"
    if not content(question) & content(source):
        return "not about the passage"
    if short:
        if len(answer.split()) > 12:
            return "answer too long"
        return "" if qa.contains(source, [answer]) else "answer not in the passage"
    return _grounded(answer, source + " " + question)


def _grounded(text: str, source: str) -> str:
    known = {number.strip(".,:/") for number in _NUMBER.findall(source)}
    if any(number.strip(".,:/") not in known for number in _NUMBER.findall(text)):
        return "a number that the passage does not have"
    words, source_words = content(text), content(source)
    return "" if words and len(words & source_words) >= 0.4 * len(words) else "not about the passage"


class Seen:
    """What was kept before, of one document: finds exact repeats and near ones."""

    def __init__(self, near: float = NEAR):
        self._near, self._exact, self._shingles = near, set[str](), list[frozenset[str]]()
        self._index: dict[str, list[int]] = {}

    def add(self, text: str) -> str:
        """'' the first time, and the text is remembered; else why it is a repeat."""
        plain = qa.spelled(text)
        if plain in self._exact:
            return "said before"
        words = plain.split()
        shingles = frozenset(" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2)))
        first = self._first(shingles)
        others = (self._shingles[at] for at in dict.fromkeys(at for one in first for at in self._index.get(one, ())))
        if any(len(shingles & other) >= self._near * len(shingles | other) for other in others):
            return "nearly said before"
        self._exact.add(plain)
        for one in first:
            self._index.setdefault(one, []).append(len(self._shingles))
        self._shingles.append(shingles)
        return ""

    def _first(self, shingles: frozenset[str]) -> list[str]:
        """The shingles, in an order that all texts share, of which two near texts have at least one in common: with n of them, at
        least near * n are shared, so no more than n - near * n can come before the first (Chaudhuri 2006). Without it each text
        of a long document would be held against all others of it.
        """
        return sorted(shingles, key=lambda one: (hash(one), one))[
            : len(shingles) - math.ceil(self._near * len(shingles)) + 1
        ]
