"""Documentation in words: what an API does, what an argument is, how a value is said."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from ...api import Parameter, ToolSpec
from ..environments.values import words_of

VERBS = {
    word: word
    for word in "get find search list show fetch check calculate convert generate return retrieve look track read give "
    "download create send validate verify translate compare estimate determine provide obtain query lookup".split()
}
VERBS |= {f"{word}s": word for word in VERBS} | {"searches": "search", "fetches": "fetch", "queries": "query"}
LONGEST_PHRASE = 12
"""Words; a longer sentence of the documentation is no phrase to be put into a question."""

LONGEST_LABEL = 6


def does(spec: ToolSpec) -> str:
    """What the API does, beginning with a verb: its description's first sentence if that will do, else its name's words.

    >>> does(ToolSpec("f", "", "Ferries", "Get Fare", "Returns the price of one sailing. Costs nothing."))
    'return the price of one sailing'
    """
    sentence = re.split(r"[.!?:;\n(]", spec.description.strip(), maxsplit=1)[0].strip()
    words = sentence.split()
    first = VERBS.get(words[0].lower()) if words else None
    if first and 3 <= len(words) <= LONGEST_PHRASE and sentence.isascii():
        return " ".join([first, *words[1:]])
    named = [word for word in words_of(spec.api).split("_") if word]
    if named and named[0] in VERBS:
        return " ".join([VERBS[named[0]], *named[1:]]) if len(named) > 1 else f"{VERBS[named[0]]} what there is"
    return f"get {' '.join(named)}" if named else "get what there is"


def tool(spec: ToolSpec) -> str:
    """The tool by its name; a function that belongs to none, by its category or its own words."""
    return spec.tool or spec.category or words_of(spec.api).replace("_", " ")


def asks(spec: ToolSpec) -> tuple[str, str]:
    """What a query says of an API, without case: two APIs of the same words cannot be told apart by it."""
    return does(spec).casefold(), tool(spec).casefold()


def label(parameter: Parameter) -> str:
    """An argument in words, by what the documentation says of it rather than by its name, where it says anything short."""
    clause = re.split(r"[.,;:!?\n(\[]", parameter.description.strip(), maxsplit=1)[0].strip()
    words = clause.split()
    if 1 <= len(words) <= LONGEST_LABEL and clause.isascii() and re.search(r"[a-z]{3}", clause.lower()):
        return " ".join([words[0].lower() if words[0].istitle() else words[0], *words[1:]])  # but `ID` stays `ID`
    return named(parameter.name)


def named(name: str) -> str:
    """A name as words.

    >>> named("passenger_class"), named("imdbID")
    ('passenger class', 'imdb id')
    """
    return words_of(name).removeprefix("is_").replace("_", " ") or name


def said(value: Any) -> str:
    """A value as a question gives it: texts and numbers as they are, lists item by item, objects as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value):
        return ", ".join(said(item) for item in value)
    return json.dumps(value, ensure_ascii=False)


def given(spec: ToolSpec, arguments: dict[str, Any]) -> str:
    """The arguments in words, to follow what is asked for. Only some are labelled: those of several whose documentation
    describes them otherwise than by their name, truth values and, by their name, those that may be left out. What a required one
    is called must be remembered, not copied; which of those that may be left out is given, nobody could know."""
    if not arguments:
        return ""
    required = {parameter.name for parameter in spec.parameters if parameter.required}
    (first, value), *more = arguments.items()
    if not more and not isinstance(value, bool) and first in required:
        return f" for {said(value)}"
    told = [(text, label if name in required else named(name)) for name, text, label in parts(spec, arguments)]
    return f" for {', '.join(f'{label}: {text}' if label else text for text, label in told)}"


def parts(spec: ToolSpec, arguments: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, label) of each of several arguments as a question gives it; '' where it is not labelled."""
    labels = {parameter.name: label(parameter) for parameter in spec.parameters}
    alike = Counter(labels[name] for name in arguments)
    found = []
    for name, value in arguments.items():
        own = set(named(name).split())
        tells = alike[labels[name]] == 1 and not own <= set(labels[name].lower().split())
        found.append((name, said(value), labels[name] if tells or isinstance(value, bool) else ""))
    return found
