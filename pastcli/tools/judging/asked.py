"""What a query asks for: the fields that it names among those observed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from ...api import Task, ToolSpec
from .claims import Reading
from .fact import Fact
from .facts import Facts, is_envelope
from .focus import meant
from .passing import CONTAINERS, IDENTITY
from .requests import place_asked
from .spans import is_quoted_in, specifics
from .stance import asked_whether, truths
from .text import STOPWORDS, content, plain, stem, stems, words

GENERIC = frozenset(
    map(
        stem,
        "id name type title date time status result data number code url link key value day year description info details list item text language country city".split(),
    )
)
"""Words of a field's name that a query holds by accident."""
_HANDLES = frozenset(map(stem, IDENTITY - {"code", "number", "key"}))
_ASKS_HANDLES = frozenset(map(stem, IDENTITY | {"identifier"}))

ANYBODYS = GENERIC | frozenset(
    map(stem, "message messages msg text content updated created image picture type kind".split())
)
"""Words of the names of fields that any API has."""

_BESIDES = frozenset(map(stem, "status state updated created modified timestamp version success".split()))
"""Words of the names of fields that say how a thing is kept rather than what it is."""

_RESULT = frozenset(map(stem, "result value answer output".split()))
"""Words of the field that a call is made for."""

Wanted = Mapping[tuple[str, ...], Sequence[Fact]]


def wanted(facts: Facts, api: int | None = None) -> Wanted:
    """The fields that the query names, with what was observed in them: of one API, or of all.

    A field is named by all words of its name, or by those of the object it lies in (`support.url`) where its own name is
    one that any query holds.
    """
    outright = facts.request
    text = outright.besides if outright else facts.asked.text
    handles = _asks_for_handles(text)
    asked = {*stems(text), *(stem(one + other) for one, other in pairwise(words(text)))}  # the sun set: `sunset`
    direct = outright.fields(fact.key for fact in facts.novel) if outright else set()
    called = {part for fact in facts.novel for part in fact.key}
    endings = tuple(word for word in asked - called if len(word) >= 5)
    found: dict[tuple[str, ...], list[Fact]] = {}
    for fact in facts.novel:
        if api is not None and fact.api != api:
            continue
        own = set(fact.key)
        if fact.key in direct:
            found.setdefault(fact.key, []).append(fact)
            continue
        named = not own <= GENERIC or lies_in_asked(fact, facts)
        said = all(part in asked or _ends_so(part, endings) for part in own)
        said = said and not own <= STOPWORDS
        if own and named and said and (handles or not own <= _HANDLES):
            found.setdefault(fact.key, []).append(fact)
    return found


def _ends_so(part: str, asked: tuple[str, ...]) -> bool:
    """True if a compound ends in a word of the query: the light of `sunlight`."""
    return part.endswith(asked) and part not in asked


def lies_in_asked(fact: Fact, facts: Facts) -> bool:
    """True if the query names the object or list that a value lies in."""
    around = {stem(word) for part in fact.record[1:] if isinstance(part, str) for word in words(part)} - CONTAINERS
    return around <= set(stems(facts.asked.text)) and not around <= GENERIC


def told(fields: Wanted, facts: Facts, reading: Reading, right: set[Fact]) -> list[tuple[str, ...]]:
    """Those of the fields that an answer tells: a value of them or of the list that they are called after, their truth, or how many
    there are."""
    novel = set(facts.novel)
    around = [
        (fact, {*fact.key, *(stem(word) for part in fact.record[1:] if isinstance(part, str) for word in words(part))})
        for fact in reading.used & novel
    ]
    records = {key: {fact.record for fact in found} for key, found in fields.items()}
    return [
        key
        for key, found in fields.items()
        if (right | reading.used) & set(found)
        or {fact.api for fact in found} & reading.counts
        or any(
            set(key) <= family and fact.record not in records[key]  # where the field itself is, none beside it will do
            for fact, family in around
        )
    ]


def of_another_entry(facts: Facts, used: Iterable[Fact]) -> str:
    """The value that an answer tells of another entry than the one that the query asks about ("of the first entry"); ''."""
    place = place_asked(facts.asked.text)
    if place is None:
        return ""
    for found in wanted(facts).values():
        rows = {fact: inner[-1] for fact in found if (inner := [p for p in fact.record[1:] if isinstance(p, int)])}
        at = max(rows.values(), default=0) if place < 0 else place
        own = {plain(fact.text) for fact, row in rows.items() if row == at}
        told = [fact.text for fact in found if fact in set(used)]
        if own and told and not own & {plain(text) for text in told}:
            return told[0]
    return ""


def unanswered(facts: Facts, reading: Reading, right: set[Fact]) -> tuple[list[str], int]:
    """(fields that the query names and the answer leaves out, how many it names): only fields with something new to tell."""
    fields = dict(wanted(facts))
    if _asks_what(facts.asked.text):  # "by what margin was it passed" takes for granted that it was
        fields = {key: held for key, held in fields.items() if not all(isinstance(fact.value, bool) for fact in held)}
    people = [fact for fact in facts.novel if _names_someone(fact)] if "who" in words(facts.asked.text) else []
    if people and not _is_told_of_sides(facts):
        fields[("who",)] = people
    fields = {key: held for key, held in fields.items() if not _is_whose(key, held, facts)}
    known = truths(facts.novel)
    fields = {k: held for k, held in fields.items() if k in known or not all(isinstance(f.value, bool) for f in held)}
    said = told(fields, facts, reading, right)
    asked = stems(facts.asked.text)
    together = set(pairwise(asked))
    beside = {key for key in fields if any((key[-1], k[0]) in together or (k[-1], key[0]) in together for k in said)}
    return [" ".join(key) for key in fields if key not in said and key not in beside], len(fields)


_IS_IT = re.compile(r"\A\W*(?:is|are|was|were|has|have|had|does|did)\s(?!there\b|it possible\b|you\b)")


def _is_told_of_sides(facts: Facts) -> bool:
    """True if who it was is one of those that the query names: the answer says a name that is no news."""
    return any(table.kind == "sides" for table in facts.tables)


def _is_whose(key: tuple[str, ...], held: Sequence[Fact], facts: Facts) -> bool:
    """True if a query names a field only as what it asks yes or no about: "Has the library card expired?" asks for no card."""
    if all(isinstance(fact.value, bool) for fact in held):
        return False
    naming = [plain(part) for part in re.split(r"(?<=[.?!])\s+", facts.asked.text) if set(key) <= set(stems(part))]
    return bool(naming) and all(
        _IS_IT.match(part) and not re.search(r"\band (?:what|how|which|when|where|who)\b", part) for part in naming
    )


def serves(api: int, facts: Facts, reading: Reading, right: set[Fact]) -> bool:
    """True if an answer tells what the query wanted of an API: half of the fields that it names there, or anything that tells
    more than an identifier where it names none."""
    own = [fact for fact in facts.novel if fact.api == api]
    fields = wanted(facts, api)
    if not own:
        return True
    if fields and not (
        _asks_what(facts.asked.text) and all(isinstance(f.value, bool) for held in fields.values() for f in held)
    ):
        return 2 * len(told(fields, facts, reading, right)) >= len(fields)
    handles = _asks_for_handles(facts.asked.text)
    telling = [fact for fact in own if handles or not set(fact.key) & _HANDLES] or own
    telling = (
        meant(facts, telling)
        or [f for f in telling if set(f.key) <= _RESULT and len(f.record) == 1]
        or [f for f in telling if not set(f.key) <= _BESIDES or asked_whether(f, facts.asked.text)]
        or telling
    )
    return any(fact in reading.used or fact in right for fact in telling) or api in reading.counts


def _asks_what(query: str) -> bool:
    """True if a query asks what, when, how much, and not whether."""
    return bool(re.match(r"\W*(?:(?:by|in|on|at|for|to|from) )?(?:what|which|when|where|who|how|why)\b", plain(query)))


@lru_cache(maxsize=512)
def _asks_for_handles(query: str) -> bool:
    """True if a query speaks of identifiers without giving one: "their IDs", and not "the user with ID 52"."""
    given = "|".join(
        re.escape(plain(text))
        for text in specifics(query)
        if any(char.isdigit() for char in text) or is_quoted_in(text, query)
    )
    left = (
        re.sub(rf"\b\w+\W{{1,4}}(?:(?:is|of|number|code|id)\W{{1,4}})?(?:{given})", " ", plain(query))
        if given
        else query
    )
    return bool(_ASKS_HANDLES & set(stems(left)))


def _names_someone(fact: Fact) -> bool:
    """True if a value can be the name of somebody: a few words of letters, and no status or code in capitals."""
    coded = set(fact.key) & _BESIDES or re.fullmatch(r"[A-Z]{1,4}", fact.text)
    named = isinstance(fact.value, str) and 0 < len(fact.content) <= 5 and not coded
    return named and not any(char.isdigit() for char in fact.text)


def relevant(task: Task) -> list[ToolSpec]:
    """The documentation of the APIs that a good run calls."""
    return [spec for spec in task.tools if spec.key in task.relevant]


def off_topic(facts: Facts, used: Iterable[Fact]) -> bool:
    """True if much of what an answer tells was said by APIs that the query does not need, and is nothing that it names: most of
    it, or parts of two of them that go by a name of which the query says no word."""
    named = wanted(facts)
    news = set(facts.novel)
    known = {plain(fact.text) for fact in facts.facts if fact.api >= 0}
    telling = [fact for fact in used if fact in news and not is_envelope(" ".join(fact.key), fact.value)]
    beside = [fact for fact in telling if fact.api < 0 and fact.key not in named and plain(fact.text) not in known]
    if len(beside) >= 3 and len(beside) > 0.5 * len(telling):
        return True
    passed_on = set().union(*facts.given_to.values()) if facts.given_to else set()
    asked = set(stems(facts.asked.text))
    new = [fact for fact in beside if not set(words(fact.text)) <= passed_on]
    strangers = {facts.names[int(fact.record[0]) - 1] for fact in new}
    known_topics = {
        part for api, name in zip(facts.responses, facts.names, strict=True) if api[0] >= 0 for part in content(name)
    }
    return sum(not (set(content(name)) - known_topics) & asked for name in strangers) >= 2
