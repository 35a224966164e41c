"""Which identifiers exist: an API asked for a thing that nobody has ever named answers that there is none.

An identifier resolves if the documentation of its tool names it (a default, an enum, an example, a description), if a
query that comes with the tool does, if the query now asked does, or if the simulator made it up itself: those carry
check digits and need no memory, so a server and a program give the same answer. Tools that come without any query
refuse only what is plainly a placeholder: the identifiers their users know are not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from ...api import Parameter, Task, ToolSpec
from ..schemas import every
from . import values

_TOKEN = re.compile(r"[\w.:@/#+-]+")
_TYPE_WORDS = frozenset(("str", "int", "float", "bool", "NoneType", "empty list"))

_SAYING = ("description", "title", "default", "const", "enum", "examples", "example")
"""What in a schema speaks of things, and not of types."""

_CREATING = frozenset(
    "create add new register upload post insert send upsert save generate start import submit".split()
)
"""Verbs of calls that bring a thing into being: its identifier may be the caller's own choice."""

_CALLERS = frozenset("client session socket external request correlation device app trace transaction".split())
"""First words of identifiers that the caller makes up: `client_id`, `request_id`."""

_PLACEHOLDERS = frozenset(
    "x xx xxx y z a b abc id ids string str text value test foo bar none null nil unknown undefined example placeholder "
    "sample todo n/a 0 -1 123 1234 12345 123456 1234567 12345678 123456789".split()
)


class Known:
    """The identifiers of a set of tools. Texts are gathered a tool at a time, when one is first asked for."""

    def __init__(self, specs: Iterable[ToolSpec], tasks: Sequence[Task] = (), asked: Sequence[str] = ()):
        self._specs: dict[tuple[str, str], list[ToolSpec]] = {}
        for spec in specs:
            self._specs.setdefault(spec.key[:2], []).append(spec)
        self._queries: dict[tuple[str, str], list[str]] = {}
        for task in tasks:
            for tool in {spec.key[:2] for spec in task.tools}:
                self._queries.setdefault(tool, []).append(task.query)
        self._asked = list(asked)
        self._tools: dict[tuple[str, str], _Names] = {}

    def fault(self, spec: ToolSpec, arguments: dict[str, Any]) -> str:
        """What does not exist, in words; '' if everything the arguments name does."""
        verb, _, _ = values.words_of(spec.api).partition("_")
        if verb in _CREATING:
            return ""
        for parameter in filter(_names_a_thing, spec.parameters):
            for value in _each(arguments.get(parameter.name)):
                if not self._resolves(spec, value):
                    thing = re.sub(r"_?(ids?|uuid|guid)$", "", values.words_of(parameter.raw_name)).replace("_", " ")
                    return f'no {thing or "entry"} with {parameter.name} "{str(value)[:80]}" was found'
        return ""

    def _resolves(self, spec: ToolSpec, value: Any) -> bool:
        text = str(value).strip()
        tool = spec.key[:2]
        if tool not in self._tools:
            documented = _documented(self._specs.get(tool, []))
            self._tools[tool] = _Names([*self._queries.get(tool, []), *self._asked, *documented])
        if values.was_made_here(text) or self._tools[tool].has(text):
            return True
        return not self._queries.get(tool) and not _is_placeholder(text)


class _Names:
    """Every word of some texts, for looking up."""

    def __init__(self, texts: Iterable[str]):
        self._text = "\n".join(texts).casefold()

    @cached_property
    def _tokens(self) -> frozenset[str]:
        found: set[str] = set()
        for token in _TOKEN.findall(self._text):
            whole = token.strip(".:/#-+")
            found.update((token, whole, *re.split(r"[:/#@]+", whole)))
        return frozenset(found)

    def has(self, text: str) -> bool:
        plain = text.casefold()
        if not plain:
            return False
        if plain in self._tokens:
            return True
        return not _TOKEN.fullmatch(plain) and re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", self._text) is not None


def _names_a_thing(parameter: Parameter) -> bool:
    words = values.words_of(parameter.raw_name or parameter.name).removeprefix("is_")
    return values.is_identifier(words.removesuffix("s")) and words.split("_")[0] not in _CALLERS


def _each(value: Any) -> list[Any]:
    """The identifiers in an argument: one, a list, or several behind one another with commas."""
    if isinstance(value, list):
        return [item for item in value if isinstance(item, (str, int))]
    if isinstance(value, str) and "," in value:
        return [part for part in value.split(",") if part.strip()]
    if isinstance(value, float) and value.is_integer():
        return [int(value)]
    return [value] if isinstance(value, (str, int, float)) and not isinstance(value, bool) else []


def _is_placeholder(text: str) -> bool:
    plain = text.casefold()
    return (
        not plain or plain in _PLACEHOLDERS or plain[0] in "<{[$" or re.match(r"your[ _-]|some[ _-]", plain) is not None
    )


def _documented(specs: Iterable[ToolSpec]) -> Iterator[str]:
    """Everything the documentation of some APIs says, but for the words that only name types.

    The tools of one OpenAPI document share its definitions: each is read once.
    """
    read: set[int] = set()
    for spec in specs:
        yield spec.description
        yield from _texts(spec.response_template)
        for schema in (spec.schema, spec.response_schema or {}):
            shared = [one for one in schema.get("$defs", {}).values() if id(one) not in read]
            read.update(map(id, shared))
            own = {key: value for key, value in schema.items() if key != "$defs"}
            for part in (part for whole in (own, *shared) for part in every(whole)):
                yield from _texts([part.get(key) for key in _SAYING])


def _texts(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, (list, tuple)):
            pending.extend(item)
        elif item is not None and not isinstance(item, bool) and not (isinstance(item, str) and item in _TYPE_WORDS):
            yield str(item)
