"""A question that one call answers, and the run that does: query, call, observation, answer."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...api import Completion, Episode, ExpectedCall, Observation, Reference, Step, Task, ToolSpec
from ..environments import values
from ..validate import check
from . import wording
from .calls import Call

LEARNT = (
    "Please {does} with {tool}{given}. What is the {field}?",
    "I need the {field}. Please {does} on {tool}{given}.",
    "Can {tool} {does}{given}? Tell me the {field}.",
    "With {tool}: {does}{given}. Which {field} does it give?",
)
"""Wordings that training may see: SFT its own queries, RL its own, with other values."""

HELD_OUT = (
    "Use {tool} to {does}{given}; I would like to know the {field}.",
    "I have a question about the {field}. What does {tool} say when you {does}{given}?",
)
"""Wordings that only tests have. No sentence of theirs is one of `LEARNT`."""

LONGEST_VALUE = 40
_FAULT = re.compile(r"\b(?:errors?|faults?|exceptions?)\b|\b[1-5]\d\d$")
"""Fields that are about a failure: nobody asks for those, or for what lies in them."""

FINISH, GIVE_ANSWER = "Finish", "give_answer"


@dataclass(frozen=True)
class Asked:
    """A query with the run that solves it."""

    task: Task
    episode: Episode


def asked(
    identity: str, call: Call, others: Sequence[ToolSpec], wordings: Sequence[str], chars: int, seed: str
) -> Asked | None:
    """The question of a call among `others`; None if its answer says nothing that can be asked for by name."""
    draw = random.Random(f"{seed}|{identity}")
    fields = list(askable(call, chars))
    if not fields:
        return None
    words, value = draw.choice(fields)
    spec = call.spec
    text = draw.choice(list(wordings)).format(
        does=wording.does(spec), tool=wording.tool(spec), given=wording.given(spec, call.arguments), field=words
    )
    tools = [spec, *others]
    draw.shuffle(tools)
    known = ExpectedCall(spec.key, {argument: (given,) for argument, given in call.arguments.items()})
    task = Task(identity, text, tuple(tools), (spec.key,), reference=Reference((known,), wording.said(value)))
    return Asked(task, solved(task, call, f"The {words} is {wording.said(value)}."))


def said_arguments(one: Asked) -> list[str]:
    """The values of a query's call, as the query says them."""
    given = one.episode.steps[0].arguments
    return [wording.said(value) for value in given.values() if not isinstance(value, bool)]


def solved(task: Task, call: Call, answer: str) -> Episode:
    """The run that solves a query: the call, its observation, Finish."""
    finish = {"return_type": GIVE_ANSWER, "final_answer": answer}
    steps = (
        _step(0, "I look it up.", call.spec.name, call.arguments, "ok", call.observation),
        _step(1, "I have what was asked for.", FINISH, finish, "finish", None),
    )
    return Episode(task, 0, steps, "finished", answer)


def _step(index: int, thought: str, action: str, given: Any, outcome: str, seen: Observation | None) -> Step:
    return Step(index, 0, Completion(""), thought, action, given, (), "", outcome, seen)


def askable(call: Call, chars: int) -> Iterator[tuple[str, Any]]:
    """(field in words, value) of what a question can ask for: the only value of its name, or that of the first entry of a
    list where there is no such; short, repeating no argument, and within the first `chars` characters, which are all that a
    model is shown."""
    if _is_failure(call.observation.response):
        return
    found = list(_leaves(call.observation.response))
    places = Counter(wording.named(name) for name, _, _ in found)
    apart = {wording.named(name) for name, _, in_list in found if not in_list}
    shown = json.dumps(call.observation.to_dict(), ensure_ascii=False)[: max(chars - 3, 0)]
    arguments = {str(value).casefold() for value in call.arguments.values()}
    own = {wording.named(parameter.name) for parameter in call.spec.parameters}
    alike = Counter(str(value).casefold() for _, value, _ in found)
    usable = [
        (wording.named(name), value)
        for name, value, _ in found
        if _is_short(value)
        and alike[str(value).casefold()] == 1
        and str(value).casefold() not in arguments
        and wording.named(name) not in own
        and not _FAULT.search(wording.named(name))
        and f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}" in shown
    ]
    single = [(words, value) for words, value in usable if places[words] == 1 and any(c.isalpha() for c in words)]
    if single:
        yield from single
        return
    firsts = {wording.named(name): value for name, value, in_list in reversed(found) if in_list}
    for words, value in dict(reversed(usable)).items():
        if words not in apart and firsts.get(words) == value:
            yield f"{words} of the first entry", value


def _is_failure(response: Any) -> bool:
    """True for an answer that holds an error and no object or list beside it: {"success": false, "error": {"code": 104}}."""
    if not isinstance(response, dict):
        return False
    faults = {key for key, value in response.items() if _FAULT.search(wording.named(str(key))) and not _is_none(value)}
    return bool(faults) and not any(
        isinstance(value, (dict, list)) and value for key, value in response.items() if key not in faults
    )


def _is_none(value: Any) -> bool:
    return isinstance(value, bool) or value in (None, "", 0, [], {})


def could_be_one(call: Call) -> bool:
    """True if two values of a call, said one after the other, could as well be one: "for 426, 13" is a text of a QR code and
    its size, or a longer text."""
    parts = wording.parts(call.spec, call.arguments)
    for (first, one, labelled), (second, other, also) in pairwise(parts):
        if labelled or also:
            continue
        for kept, gone in ((first, second), (second, first)):
            glued = {**call.arguments, kept: f"{one}, {other}"}
            del glued[gone]
            if isinstance(call.arguments[kept], str) and not check(call.spec, glued)[0]:
                return True
    return False


def _is_short(value: Any) -> bool:
    plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return plain and 0 < len(str(value)) <= LONGEST_VALUE and "://" not in str(value)


def _leaves(value: Any, name: str = "", in_list: bool = False, depth: int = 8) -> Iterator[tuple[str, Any, bool]]:
    """(name, value, whether inside a list) of everything in an answer: what stands twice cannot be asked for by its name."""
    if isinstance(value, dict) and depth:
        for key, inner in value.items():
            if not (isinstance(inner, (dict, list)) and _FAULT.search(wording.named(str(key)))):
                yield from _leaves(inner, str(key), in_list, depth - 1)
    elif isinstance(value, list) and depth:
        for inner in value:
            yield from _leaves(inner, name, True, depth - 1)
    elif value is not None and name:
        yield name, value, in_list


def names_its_arguments(task: Task, spec: ToolSpec) -> float | None:
    """The share of the required arguments whose name stands in the query, in words: those need not be remembered."""
    text = f" {values.words_of(task.query).replace('_', ' ')} "
    required = [f" {wording.named(p.name)} " for p in spec.parameters if p.required]
    return sum(name in text for name in required) / len(required) if required else None
