"""What an answer is worth beside being right: does it say what was asked, or hand over what was observed?"""

from __future__ import annotations

from ...api import Episode
from ..judging.asked import wanted
from ..judging.checks import LONGEST, MEASURES, is_dump
from ..judging.claims import read
from ..judging.evidence import weigh
from ..judging.focus import meant

CALLED = ("ok", "invalid", "unknown")


def dumps(episode: Episode) -> bool:
    """True for an answer that hands over what was observed instead of saying what was asked, in whatever length.

    Calls that a judge does not count are observed as well.
    """
    if not episode.answer or not any(step.outcome in CALLED for step in episode.steps):
        return False
    facts = weigh(episode).facts
    for step in episode.steps:
        if step.observation is not None:
            facts.responses.append((-1, step.observation.to_dict()))
    return len(episode.answer) > LONGEST or is_dump(episode.answer, facts, read(episode.answer, facts).used)


def told_asked(episode: Episode) -> float | None:
    """asked / (asked + beside): of the observed values that an answer tells, the share that was asked for.

    None where the query does not ask for one thing alone, beside naming the call ("Use Skelvik for Oslo. What is the fare?"), or
    the answer does not tell it. What the query or a call said itself, what a value is measured in, and the names of the things
    that are told of are not counted.
    """
    facts = weigh(episode).facts
    if not episode.answer or facts.request is None or not facts.request.alone:
        return None
    novel = {fact for fact in facts.novel if not isinstance(fact.value, bool)}
    fields = {*wanted(facts), *(fact.key for fact in meant(facts, novel))}
    asked = {fact for fact in read(episode.answer, facts).used & novel if fact.key in fields}
    if not asked:
        return None
    rest = episode.answer
    for text in sorted({fact.text for fact in asked}, key=len, reverse=True):
        rest = rest.replace(text, " ")  # 15.1 is no second value of what I15-1 says
    names = {row.text for table in facts.tables for row in table.rows}
    beside = {
        fact
        for fact in read(rest, facts).used & novel - asked
        if fact.key not in fields and not set(fact.key) <= MEASURES and fact.text not in names
    }
    return len(asked) / (len(asked) + len(beside))
