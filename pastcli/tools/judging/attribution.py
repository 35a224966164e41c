"""Whose values an answer repeats, where several APIs said the same: one mention proves one observation.

Small answers meet by accident: two services are both `active`, two lists hold the same name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from dataclasses import replace

from ...api import Task
from .asked import ANYBODYS, wanted
from .claims import Reading
from .fact import Fact
from .facts import Facts, keyed
from .fit import CHATTER
from .text import content, phrase, plain, sentences, stem, stems

_SHARED = re.compile(r"\b(both|each|all|every|same|too|also|as well|likewise|respectively|alike|either way|again)\b")

_MACHINE_NAME = re.compile(r"[a-z][A-Z]|[/_]|\A(?:[Gg]et|[Ll]ist|[Ff]etch|[Ff]ind|[Ss]earch|[Rr]etrieve)\b")


def attributed(reading: Reading, right: set[Fact], facts: Facts, task: Task, answer: str) -> tuple[Reading, set[Fact]]:
    """A reading and the truths it states without what several APIs said and the answer tells of another one only.

    A shared value is an API's own if it is said as often as APIs said it, or of all of them ("both are open"); if that API
    is told by something else as well, or named by its topic or by what it was asked with; or if none of them is.
    """
    topics = _topics(facts, task)
    by_value: dict[object, set[Fact]] = {}
    for fact in reading.used | right:
        by_value.setdefault(_same(fact, fact in right and fact not in reading.used), set()).add(fact)
    sharing = {key: {fact.api for fact in held if fact.api >= 0} for key, held in by_value.items()}
    certain = {api for apis in sharing.values() if len(apis) == 1 for api in apis}
    said = set(stems(answer))
    for api, topic in topics.items():
        if topic - set().union(*(other for place, other in topics.items() if place != api)) & said:
            certain.add(api)
    lost: set[Fact] = set()
    for key, apis in sharing.items():
        if (
            len(apis) > 1
            and apis & certain
            and not apis <= certain
            and not _said_of_all(by_value[key], len(apis), answer)
        ):
            lost |= {fact for fact in by_value[key] if fact.api not in certain}
    return replace(reading, used=reading.used - lost), right - lost


def _same(fact: Fact, is_truth: bool) -> object:
    return (fact.key, fact.value) if is_truth else plain(fact.text)


def _topics(facts: Facts, task: Task) -> dict[int, set[str]]:
    """What only the telling of one API would say: the words of its name, and of the arguments it was called with."""
    return {
        api: (set(content(key[2])) - CHATTER) | {stem(word) for word in facts.given_to.get(api, ())}
        for api, key in enumerate(task.relevant)
    }


def _said_of_all(shared: Iterable[Fact], count: int, answer: str) -> bool:
    """True if a value is said for each of the APIs that said it, or in a sentence that speaks of all."""
    said = phrase(answer)
    value = max((fact.phrase for fact in shared), key=len)
    if value.strip() and said.count(value) >= count:
        return True
    holding = [plain(sentence) for sentence in sentences(answer) if value in phrase(sentence)]
    return any(_SHARED.search(sentence) for sentence in holding or [plain(answer)])


def unrecognised(
    apis: Iterable[int], task: Task, facts: Facts, used: frozenset[Fact], answer: str, passed_on: Set[int] = frozenset()
) -> set[int]:
    """Of the APIs whose values an answer tells, those of which nobody can tell it: it says only values of fields that any API
    has (a name, a status), and no word of what the API is called and the query asks for where it says them.

    Where it tells something of several, one may be left to guess; and where all but one only gave values to be `passed_on`.
    """
    apis = list(apis)
    if len(set(range(len(task.relevant))) - passed_on) < 2:
        return set()
    asked = set(stems(facts.asked.text))
    named = set(wanted(facts))
    answer = _without_machine_names(answer, task)
    beside = _said_beside({api: [fact for fact in used if fact.api == api] for api in apis}, answer)
    common = {key for key, held in keyed(facts.novel).items() if len({fact.api for fact in held}) > 1}
    found = set()
    for api in apis:
        topic = (set(content(task.relevant[api][2])) - CHATTER) & asked
        own = [fact for fact in used if fact.api == api]
        plainly = all(set(fact.key) <= ANYBODYS and (fact.key not in named or fact.key in common) for fact in own)
        if topic and not topic & beside[api] and own and plainly:
            found.add(api)
    return found if len(found) > 1 or found == set(apis) else set()


def _without_machine_names(answer: str, task: Task) -> str:
    """An answer without what only a program calls an API ("getUserByName:", "/jokes/random:", "Get version:"): who speaks to a
    person says what it is about in words."""
    for spec in task.tools:
        if _MACHINE_NAME.search(spec.api):
            answer = re.sub(rf"(?<!\w){re.escape(spec.api)}(?!\w)", " ", answer)
    return answer


def _said_beside(own: dict[int, list[Fact]], answer: str) -> dict[int, set[str]]:
    """The words that an answer says in the sentences that hold values of each API, and in headings over nothing else."""
    said: dict[int, set[str]] = {api: set() for api in own}
    heading: set[str] = set()
    under: set[int] = set()

    def close() -> None:
        if len(under) == 1:
            said[next(iter(under))].update(heading)

    for sentence in sentences(answer):
        spoken = set(stems(sentence))
        holds = {api for api, held in own.items() if any(_is_in(fact, sentence, spoken) for fact in held)}
        for api in holds:
            said[api] |= spoken
        if holds:
            under |= holds
        else:
            close()
            heading, under = spoken, set()
    close()
    return said


def _is_in(fact: Fact, sentence: str, spoken: set[str]) -> bool:
    return fact.phrase in phrase(sentence) or 2 * sum(word in spoken for word in fact.content) > len(fact.content)
