"""Whoever asks for something to be done wants it done: what a call did, and what an answer says was done."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ...api import Task
from .arguments import leaves
from .facts import Facts
from .failures import failed
from .opposites import NEGATED
from .sources import Said
from .text import plain, sentences, stem, stems, words

_ACTS = """book reserve order send delete remove cancel move reschedule update set turn switch create add issue deactivate activate post upload buy pay
transfer schedule register enable disable lock unlock start stop rename invite subscribe unsubscribe assign close open submit publish share block unblock
approve reject print pause resume restart reset edit change save mark archive confirm refund ship place make turn mute unmute join leave"""
ACTS = frozenset(map(stem, _ACTS.split()))
_READS = frozenset(
    map(stem, "get list search find check fetch show status info lookup details history query read".split())
)
_DOES = frozenset(
    map(
        stem,
        "book reserve order send delete cancel reschedule post upload buy transfer schedule register subscribe".split(),
    )
)
"""What nobody has done without a call."""
_OUTCOMES = frozenset(
    map(
        stem,
        "success successful ok done updated deleted created confirmed sent booked reserved accepted approved completed processed saved added removed cancelled canceled moved scheduled posted uploaded applied executed placed".split(),
    )
)
"""Words of fields that say whether what was asked for happened."""
_FAILED = re.compile(
    r"\b(?:fail\w*|reject\w*|declin\w*|error|denied|refused|conflict|insufficient|not (?:possible|allowed|available|sent|booked|created|updated)|unsuccessful|fully booked|locked|expired|invalid|forbidden)\b"
)
_OWNS_UP = re.compile(
    r"\b(?:fail\w*|declin\w*|reject\w*|refus\w*|unable|unsuccessful\w*|error|impossible|conflict\w*|unfortunately|sorry|problem|denied|fully booked|pending|queued)\b"
)
_DONE = re.compile(
    r"\b(?:done|all set|completed|confirmed|success\w*|has been|have been|have (?:now )?\w+ed|is now|are now|was \w+ed|were \w+ed|i(?:'ve| have))\b"
)


def is_act(name: str) -> bool:
    """True if an API does something rather than tells something: by the verb in its name."""
    said = stems(name)
    return bool(ACTS & set(said)) and not _READS & set(said[:2])


def happened(response: Any) -> bool:
    """False if a response says that what was asked for did not happen."""
    if not isinstance(response, dict):
        return True
    if failed(response):
        return False
    for name, value in response.items():
        key = {stem(word) for word in words(str(name))}
        if isinstance(value, bool) and key & _OUTCOMES and not value:
            return False
        if (
            key & {"statu", "status", "stat", "state", "result", "outcom"}
            and isinstance(value, str)
            and _FAILED.search(plain(value))
        ):
            return False
        if key & {"error", "errors"} and value:
            return False
    return True


_I_DID = re.compile(r"\bi(?:'ve| have)?\s(?:now |already |successfully |just )?([a-z]+)\b")


def undone(answer: str, facts: Facts, refused: Iterable[tuple[str, Any]] = ()) -> str:
    """The API that did not do what it was called for, where the answer does not own up to it, or what an answer says that it did
    and no call did ("I have booked"); ''. `refused` are the calls that came back as errors: what they were called and made with."""
    said = plain(answer)
    told = set(words(answer))
    for name, arguments in refused:
        given = {word for leaf in leaves(arguments) for word in words(str(leaf)) if len(word) > 1}
        if is_act(name) and given and given <= told and not _OWNS_UP.search(said) and not NEGATED.search(said):
            return name
    if not any(is_act(name) for name in facts.names):
        for verb in _I_DID.findall(said):
            if verb.endswith(("ed", "sent", "bought")) and stem(verb) in _DOES:
                return verb
    for (_, response), name in zip(facts.responses, facts.names, strict=True):
        if is_act(name) and not happened(response) and not _OWNS_UP.search(said) and not NEGATED.search(said):
            return name
    return ""


def acts_done(facts: Facts, task: Task, answer: str) -> set[int]:
    """The APIs that did what they were called for, as the answer says."""
    return {api for api in range(len(task.relevant)) if is_reported(api, facts, task, answer)}


def prepares(api: int, facts: Facts, done: set[int]) -> bool:
    """True if an API only said whether something may be done (available: yes) that was then done."""
    told = [fact for fact in facts.novel if fact.api == api]
    return bool(done - {api}) and bool(told) and all(fact.value is True for fact in told)


def is_reported(api: int, facts: Facts, task: Task, answer: str) -> bool:
    """True if an API did what it was called for and the answer says so: names what it was done with, and that it is done."""
    if api >= len(task.relevant) or not is_act(task.relevant[api][2]):
        return False
    done = [happened(response) for place, response in facts.responses if place == api]
    if not done or not all(done):
        return False
    given = {stem(word) for word in facts.given_to.get(api, ())} | {part for f in facts.of(api) for part in f.content}
    given = {part for part in given if len(part) > 1}
    moments = [Said(str(value)) for fact in facts.of(api) for value in (fact.value,) if isinstance(value, str)]
    verbs = {stem(word) for word in words(task.relevant[api][2])} & ACTS
    for sentence in sentences(answer):
        own = set(stems(sentence))
        told = (
            verbs & own
            or _DONE.search(plain(sentence))
            or re.search(r"\b(?:is|are) (?:now )?(?:off|on|gone|set|booked)\b|\bnow\b|\b\w+ed\b", plain(sentence))
        )
        if told and (given & own or _tells_moment(sentence, moments)) and not NEGATED.search(plain(sentence)):
            return True
    return False


def _tells_moment(sentence: str, moments: Iterable[Said]) -> bool:
    said = Said(sentence)
    return any(
        any(day.agrees(own) for day in said.dates for own in moment.dates)
        or any(clock.minutes & own.minutes for clock in said.clocks for own in moment.clocks)
        for moment in moments
    )
