"""What an answer is worth beside being right: does it say what was asked, or hand over what was observed?"""

from __future__ import annotations

from dataclasses import dataclass

from ...api import Episode
from ..judging.asked import lies_in_asked, wanted
from ..judging.checks import LONGEST, MEASURES, is_dump
from ..judging.claims import read
from ..judging.evidence import weigh
from ..judging.fact import Fact
from ..judging.facts import Facts
from ..judging.focus import meant
from ..judging.misstated import misstated
from .recital import longest_run

CALLED = ("ok", "invalid", "unknown")
MANY = 5
"""Values that a query did not name, in what was observed, from which telling them all is handing them over."""
FREE = 0.75
"""Share of those that an answer may tell for nothing, where a query asks for more than one thing alone."""

READ_OUT = 4
"""Different fields whose values an answer says one after the other, in the tool's order, from which it reads out: half of them
such as nobody asked for."""


@dataclass(frozen=True)
class Told:
    """What an answer tells, counted: values `asked` for, values `beside`, and how many of the latter were `observed`.

    `alone` where the query asks for one thing and says which; `turned` where a value asked for is denied, or said of something
    else.
    """

    asked: int
    beside: int
    observed: int
    alone: bool
    turned: bool


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
    if len(episode.answer) > LONGEST or is_dump(episode.answer, facts, read(episode.answer, facts).used):
        return True
    asked = {fact.name for fact in facts.facts if fact.key in _fields(facts)}
    runs = (longest_run(episode.answer, response) for _, response in facts.responses)
    return any(len(run) >= READ_OUT and 2 * sum(name in asked for name in run) <= len(run) for run in runs)


def told_asked(episode: Episode) -> float | None:
    """asked / (asked + beside): of the observed values that an answer tells, the share that was asked for.

    None where the query does not ask for one thing alone, beside naming the call ("Use Skelvik for Oslo. What is the fare?"), or
    the answer does not tell it. What the query or a call said itself, what a value is measured in, and the names of the things
    that are told of are not counted.
    """
    told = _told(episode)
    return told.asked / (told.asked + told.beside) if told and told.alone and told.asked else None


def to_the_point(episode: Episode) -> float:
    """What of its worth an answer keeps for leaving out what nobody asked for: 1 if it does, 0 for all that was observed, in
    whatever words.

    Where a query asks for one thing alone, that is the share of it in the values told, times the share of the others that was
    left out. Where it asks for more, or in words that name no field, three quarters of the others may be told; of fewer than
    `MANY` all.
    """
    told = _told(episode)
    if told is None or (told.alone and not told.asked):
        return 0.0 if told and told.turned else 1.0
    if not told.observed:
        return 1.0
    left_out = 1 - told.beside / told.observed
    if told.alone:
        return told.asked / (told.asked + told.beside) * left_out
    return min(1.0, left_out / (1 - FREE)) if told.observed >= MANY else 1.0


def _fields(facts: Facts) -> set[tuple[str, ...]]:
    """The fields that the query asks for, by their names or by what it calls them."""
    return {*wanted(facts), *(fact.key for fact in meant(facts, facts.facts))}


def _told(episode: Episode) -> Told | None:
    facts = weigh(episode).facts
    if not episode.answer or not facts.facts:
        return None
    alone = facts.request is not None and facts.request.alone
    news = {fact for fact in _news(facts) if not isinstance(fact.value, bool)}
    fields = _fields(facts)
    asked = {fact for fact in read(episode.answer, facts).used & news if fact.key in fields}
    names = {row.text for table in facts.tables for row in table.rows}
    others = {
        fact for fact in news if fact.key not in fields and not set(fact.key) <= MEASURES and fact.text not in names
    }
    if not alone:
        others = {fact for fact in others if not lies_in_asked(fact, facts)}
    rest = episode.answer
    for text in sorted({fact.text for fact in asked}, key=len, reverse=True):
        rest = rest.replace(text, " ")  # 15.1 is no second value of what I15-1 says
    beside = read(rest, facts).used & others
    turned = misstated(episode.answer, [fact for fact in news if fact.key in fields], facts)
    return Told(len(asked), len(beside), len(others), alone, bool(turned))


def _news(facts: Facts) -> set[Fact]:
    """What was observed and not said by the query or a call: a text under the name of an envelope ("error") as well."""
    texts = {fact for fact in facts.facts if isinstance(fact.value, str) and not facts.echoes(fact)}
    return {*facts.novel, *texts}
