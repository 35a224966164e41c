"""What is true of some things and not of others, and which of them a clause says it of."""

from __future__ import annotations

import re

from .fact import Fact, Place
from .facts import Facts
from .opposites import is_spoken_of
from .stance import stances, truths
from .tables import NAMING
from .text import clauses, phrase


def said_of_each(answer: str, facts: Facts) -> tuple[list[str], set[Fact]]:
    """(fields stated the wrong way round, facts stated right) where a clause says of records by name what is true of some only, or what some
    have none of ("free plugs" where 0 are free)."""
    known = truths(facts.novel)
    booleans: dict[tuple[str, ...], dict[Place, Fact]] = {}
    for place, fields in facts.records.items():
        for fact in fields:
            none = fact.value == 0 and is_spoken_of(fact.key)
            if (isinstance(fact.value, bool) or none) and fact.key not in known:
                booleans.setdefault(fact.key, {})[place] = fact
    wrong: list[str] = []
    right: set[Fact] = set()
    for key, held in booleans.items():
        for clause in clauses(answer):
            said = phrase(clause)
            spoken = stances(_without_texts(clause, facts), key, "")
            named = [fact for place, fact in held.items() if any(_calls(said, other) for other in facts.records[place])]
            if named and len(spoken) == 1 and {bool(fact.value) for fact in named} == spoken:
                right.update(named)
            elif named and len(spoken) == 1:
                wrong.append(" ".join(key))
    return wrong, right


def _without_texts(clause: str, facts: Facts) -> str:
    """A clause without the names in it: the shop "Open Harbour" need not be open."""
    for fact in facts.facts:
        if isinstance(fact.value, str) and fact.key and set(fact.key) & NAMING and len(fact.text) > 2:
            clause = re.sub(rf"(?<!\w){re.escape(fact.text)}(?!\w)", " ", clause, flags=re.IGNORECASE)
    return clause


def _calls(said: str, fact: Fact) -> bool:
    return isinstance(fact.value, str) and bool(fact.phrase.strip()) and fact.phrase in said
