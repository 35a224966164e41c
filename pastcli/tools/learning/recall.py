"""Questions about an API's schema, closed book: name ↔ parameters ↔ types ↔ defaults and choices ↔ an example input.

Every kind has wordings that training may see and wordings that only tests have, so that knowing the schema can be told
from repeating an answer to a sentence, and both from calling the API.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...api import Parameter, ToolSpec
from . import wording
from .calls import Call

WORDINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "parameters": (
        ("What are the parameters of {name}?", "Which parameters does {name} take?", "List the parameters of {name}."),
        ("Name every parameter that {name} accepts.",),
    ),
    "required": (
        ("Which parameters of {name} are required?", "What must every call of {name} contain?"),
        ("Which parameters does {name} need?",),
    ),
    "type": (
        ("What type is {parameter} of {name}?", "Of which type is the parameter {parameter} that {name} takes?"),
        ("{name} takes {parameter}: as a value of which type?",),
    ),
    "meaning": (
        ("What is {parameter} of {name}?", "What does the parameter {parameter} mean to {name}?"),
        ("In a call of {name}, what is {parameter} there for?",),
    ),
    "choices": (("Which values may {parameter} of {name} have?",), ("What can be given to {name} as {parameter}?",)),
    "default": (
        ("What is the default of {parameter} of {name}?",),
        ("If a call of {name} leaves out {parameter}, what is it then?",),
    ),
    "function": (
        ("Which function of {tool} can {does}?", "Which function do I call to {does} on {tool}?"),
        ("{tool} shall {does}: by which function?",),
    ),
    "owner": (("Which function takes {parameters}?",), ("{parameters}: whose parameters are these?",)),
    "input": (
        ("Write an input of {name}.", "What does an input of {name} look like?"),
        ("Show how {name} is filled in.",),
    ),
}
"""kind -> (wordings that are learnt, wordings that are held out)"""

TESTED = ("parameters", "required", "type", "function")
"""The kinds whose held-out wordings are asked: they have one answer that the documentation states."""

NONE = "none"
LONGEST_MEANING = 100


@dataclass(frozen=True)
class Fact:
    """One question about an API: its kind, what its wordings are filled with, its accepted answers."""

    kind: str
    spec: ToolSpec
    words: dict[str, str]
    answers: tuple[str, ...]

    def questions(self, held_out: bool) -> list[str]:
        return [text.format(**self.words) for text in WORDINGS[self.kind][held_out]]


def facts(spec: ToolSpec, among: Sequence[ToolSpec], call: Call | None) -> Iterator[Fact]:
    """What there is to ask about an API. `among` are all APIs of its side: a question whose answer would be two of them is
    none; `call` gives the example of an input."""
    name = {"name": spec.name}
    yield Fact("parameters", spec, name, _list(spec.parameters))
    yield Fact("required", spec, name, _list([p for p in spec.parameters if p.required]))
    for parameter in spec.parameters:
        yield from _about(spec, parameter)
    asked = {"tool": wording.tool(spec), "does": wording.does(spec)}
    if sum(wording.asks(o) == wording.asks(spec) for o in among) == 1:
        yield Fact("function", spec, asked, (spec.name,))
    own = frozenset(parameter.name for parameter in spec.parameters)
    if own and Counter(frozenset(p.name for p in o.parameters) for o in among)[own] == 1:
        yield Fact("owner", spec, {"parameters": _list(spec.parameters)[0]}, (spec.name,))
    if call is not None:
        yield Fact("input", spec, name, (json.dumps(call.arguments, ensure_ascii=False),))


def _about(spec: ToolSpec, parameter: Parameter) -> Iterator[Fact]:
    words = {"name": spec.name, "parameter": parameter.name}
    if parameter.type != "any":
        yield Fact("type", spec, words, (parameter.type,))
    meaning = " ".join(parameter.description.split())
    if meaning and len(meaning) <= LONGEST_MEANING:
        yield Fact("meaning", spec, words, (meaning,))
    if parameter.enum:
        yield Fact("choices", spec, words, (", ".join(map(_text, parameter.enum)),))
    elif parameter.default not in (None, ""):
        yield Fact("default", spec, words, (_text(parameter.default),))


def _list(parameters: Sequence[Parameter]) -> tuple[str, ...]:
    """Names in the order of the documentation; sorted ones are as right."""
    names = [parameter.name for parameter in parameters]
    return tuple(dict.fromkeys([", ".join(names), ", ".join(sorted(names))])) if names else (NONE,)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def card(spec: ToolSpec) -> str:
    """The documentation of an API as a text to be learnt as a whole."""
    place = " of ".join(filter(None, [f"function {spec.name}", spec.tool]))
    lines = [spec.name, f"The {place}{f' ({spec.category})' if spec.category else ''} can {wording.does(spec)}."]
    told = " ".join(spec.description.split())
    lines += [told[:400]] if told else []
    lines += [f"Parameters of {spec.name}: {_list(spec.parameters)[0]}."]
    return "\n".join([*lines, *(_line(parameter) for parameter in spec.parameters)])


def _line(parameter: Parameter) -> str:
    kind = [parameter.type] if parameter.type != "any" else []
    kind += ["required" if parameter.required else "optional"]
    if parameter.enum:
        kind.append(f"one of {', '.join(map(_text, parameter.enum))}")
    elif parameter.default not in (None, ""):
        kind.append(f"default {_text(parameter.default)}"[:80])
    told = " ".join(parameter.description.split())[:200]
    return f"- {parameter.name} ({', '.join(kind)}){f': {told}' if told else ''}"
