"""What a query gives to be worked with, and a run left unused: values of its own, and how many things it asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set

from ...api import Parameter, ToolSpec
from .asked import GENERIC
from .facts import Facts
from .fit import fits, is_setting, near, takes
from .numbers import equal
from .sources import Said
from .spans import counts_things, is_quoted_in, specifics, stands_alone
from .text import STOPWORDS, content, phrase, plain, stem, words

_KIND = re.compile(r"URL|[A-Z]{2,}s")
"""Names of kinds of things, not of a thing: "the URLs", "150 UUIDs"."""

_HOW_MANY = frozenset(map(stem, "count limit size num n number quantity amount batch results max top".split()))
"""Words of a parameter for how many things are wanted."""


def left_unused(
    facts: Facts, given: Sequence[Said], specs: Sequence[ToolSpec], filled: Mapping[tuple[str, str, str], Set[str]]
) -> tuple[str, bool]:
    """(a value of the query that no call was made with and none observed, though an API that was called has a parameter for it
    that got nothing; whether that only says how something is to be done), or ('', False). `filled` are the names of the
    arguments that each API got."""
    query = facts.asked.text
    told = [text for spec in specs for text in (spec.tool, spec.api, spec.description[:400])]
    told += [text for spec in specs for p in spec.parameters for text in (p.name, p.raw_name, p.description[:200])]
    documented = "".join(phrase(text) for text in told)
    own = [text for text in map(_without_next_sentence, specifics(query)) if phrase(text) not in documented]
    own = [text for text in own if not (_is_given(text, given) or _is_seen(text, facts) or _KIND.fullmatch(text))]
    for spec in specs:
        for parameter in spec.parameters if spec.key in filled else ():
            if {parameter.name, parameter.raw_name} & filled[spec.key]:
                continue
            for text in own:
                if _belongs(text, parameter, query):
                    return text, is_setting(parameter)
            for choice in parameter.enum or ():
                if isinstance(choice, str) and stands_alone(choice, query) and not _is_given(choice, given):
                    return choice, True
    return "", False


def left_beside(facts: Facts, given: Sequence[Said], answer: str) -> str:
    """What the query says beside a value that a call was made with ("on groceries and on transport"), where no call was made with
    it, nothing of it was observed and the answer says no word of it; ''."""
    query = plain(facts.asked.text)
    heard = facts.observed_words | set(words(answer)) | {word for one in given for word in one.words}
    for value in dict.fromkeys(plain(one.text) for one in given):
        if not 3 < len(value) <= 40 or not re.fullmatch(r"[^\W\d_]+(?: [^\W\d_]+){0,2}", value):
            continue
        found = re.search(
            rf"\b{re.escape(value)}(?:,? and|,? as well as) (?:(?:on|in|for|of|at|from|to|with) )?(?:the )?([^\W\d_]{{4,}})(?=[?.!,;]|\Z| (?:last|this|in|for|with|on|by|during)\b)",
            query,
        )
        if found and found[1] not in STOPWORDS and not _is_heard(found[1], heard, facts):
            return found[1]
    return ""


def _is_heard(word: str, heard: Set[str], facts: Facts) -> bool:
    return (
        word in heard
        or stem(word) in {stem(one) for one in heard}
        or any(stem(word) in fact.key for fact in facts.facts)
    )


def _belongs(text: str, parameter: Parameter, query: str) -> bool:
    """True if a value of the query is one for this parameter: it has its form, and stands alone or beside its name."""
    if parameter.type in ("integer", "number") and not re.fullmatch(r"-?[\d.,]+", text):
        return False
    if not fits(text, parameter.name, parameter, query):
        return False
    alone = stands_alone(text, query) and not is_quoted_in(text, query)  # what is quoted may be by the way
    return alone or takes(parameter, text, query) or near(text, parameter, query)


def _without_next_sentence(text: str) -> str:
    """A name without the capital word of another sentence: "New York. Can" is New York."""
    name, _, word = text.rpartition(". ")
    return name if name and word.lower() in STOPWORDS else text


def _is_seen(text: str, facts: Facts) -> bool:
    return any(phrase(text) in fact.phrase for fact in facts.facts) or facts.observed_words >= set(words(text))


def _is_given(text: str, given: Sequence[Said]) -> bool:
    """True if a call was made with a value, or part of it: as it stands or by what it means."""
    said = Said(text)
    for argument in given:
        if phrase(argument.text) in phrase(text) or phrase(text) in phrase(argument.text):
            return True
        if any(date.agrees(other) for date in said.dates for other in argument.dates):
            return True
        if any(clock.minutes & other.minutes for clock in said.clocks for other in argument.clocks):
            return True
        if any(equal(number, other) for number in said.numbers for other in argument.numbers):
            return True
        if said.meanings & argument.meanings:
            return True
    return False


def _things(query: str, span: tuple[int, int]) -> set[str]:
    """What a number of the query may count: the next words ("50 unique GUIDs")."""
    after = re.split(r"[.,;:!?\n]", plain(query)[span[1] :][:60])[0]
    return {stem(word) for word in words(after)[:3]}


def _made(facts: Facts, specs: Iterable[ToolSpec]) -> set[str]:
    """What the APIs give: the last word of their names, the fields and lists of what they answered."""
    found = {content(spec.api)[-1] for spec in specs if content(spec.api)}
    for fact in facts.facts:
        found |= set(fact.key) if fact.api >= 0 else set()
        found |= {stem(word) for part in fact.record[1:] if isinstance(part, str) for word in words(part)}
    return found - GENERIC


def uncounted(facts: Facts, given: Sequence[Said], specs: Sequence[ToolSpec]) -> str:
    """How many things the query asks for ("50 GUIDs"), if the APIs have a parameter for how many, no call gave it and no list
    has that many; else ''."""
    query = facts.asked.text
    many = [
        n for n in facts.asked.numbers if n.value >= 2 and n.kind in ("number", "word") and counts_things(query, n.span)
    ]
    many = [n for n in many if _things(query, n.span) & _made(facts, specs)]
    if not many or not any({stem(w) for w in words(p.name)} & _HOW_MANY for spec in specs for p in spec.parameters):
        return ""
    held = [n.value for said in given for n in said.numbers] + [length for length, _ in facts.lengths]
    held += [n.value for fact in facts.facts for n in fact.numbers]
    return "" if any(n.value in held for n in many) else many[0].text
