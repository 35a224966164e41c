"""A response for a valid call: a pure function of the documentation, the arguments and a seed text.

StableToolBench's templates say `"str"`, `"int"`, `"list of str with length 3"` where a value goes, and mark the length
of a list by `_list_length` in its one element; anything else in a template is an example and stands for itself. What
a JSON Schema documents is filled in by `from_schema`. A field that has a parameter's name repeats the argument.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ...api import ToolSpec
from .. import types
from . import values
from .from_schema import from_schema

LONGEST_LIST = 3
"""Elements of a list at most: an observation is cut at 1,024 characters anyway."""

DEEPEST = 12

_LEAF = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "NoneType": "null"}
_LIST = re.compile(r"list of (\w+) with length (\d+)")
_VERBS = frozenset("get list search find fetch show all by the a an of for to in on and or with from api".split())
_SHELLS = frozenset("data result results response body item output".split())


class Echo:
    """The arguments of a call, found by the name of a field however it is spelled."""

    def __init__(self, spec: ToolSpec, arguments: Mapping[str, Any]):
        self._values: dict[str, Any] = {}
        for parameter in spec.parameters:
            value = arguments.get(parameter.name, parameter.default)
            if value is not None:
                for name in (parameter.name, parameter.raw_name):
                    self._values[_squeezed(name)] = value
        things = [
            p.name for p in spec.parameters if p.name in arguments and values.is_identifier(values.words_of(p.name))
        ]
        if len(things) == 1:  # asked by its `petId` a pet says so as its `id`
            self._values.setdefault("id", arguments[things[0]])

    def get(self, field: str, kind: str, place: str) -> Any:
        """The argument that a field of this kind repeats; None if it repeats none.

        An identifier tells one thing from others: it is repeated where the answer speaks of that thing, at the top,
        and not inside lists or beside other things' identifiers.
        """
        value = self._values.get(_squeezed(field))
        if value is None or (values.is_identifier(field) and not _at_top(place)):
            return None
        if types.is_of(value, kind):
            return value
        if kind == "string" and not isinstance(value, (dict, list)):
            return json.dumps(value)
        return None


def response(spec: ToolSpec, arguments: dict[str, Any], seed: str) -> Any:
    """The answer to a valid call, by template, else by schema, else by the API's name."""
    echo = Echo(spec, arguments)
    if spec.response_template in (None, "", {}, []) and spec.response_schema:
        return from_schema(spec.response_schema, seed, echo)
    template = spec.response_template
    if template in (None, "", {}, []):
        return {**arguments, **_fill(_template_from_name(spec), "", seed, Echo(spec, {}), DEEPEST)}
    return _fill(template, "", seed, echo, DEEPEST)


def _template_from_name(spec: ToolSpec) -> dict[str, Any]:
    """What an undocumented response might hold beside the arguments: an element for the noun in the API's name."""
    nouns = [word for word in values.words_of(spec.api).split("_") if word and word not in _VERBS]
    fields = {"id": "str", "name": "str", "description": "str", "status": "str", "updated": "str"}
    return {"_".join(nouns[:3]) or "result": fields}


def _fill(template: Any, path: str, seed: str, echo: Echo, depth: int) -> Any:
    """A value shaped like `template`; `path` names its place, such as `results/1/title`."""
    if depth == 0:
        return None
    if isinstance(template, dict):
        keys = [key for key in template if key != "_list_length"]
        return {key: _fill(template[key], f"{path}/{key}", seed, echo, depth - 1) for key in keys}
    if isinstance(template, list):
        return _fill_list(template, path, seed, echo, depth)
    if template == "empty list":
        return []
    several = _LIST.fullmatch(template) if isinstance(template, str) else None
    if several:
        kind, length = _LEAF.get(several[1]), min(int(several[2]), LONGEST_LIST)
        return [] if kind is None else [_leaf(kind, f"{path}/{n}", seed, echo) for n in range(length)]
    if isinstance(template, str) and template in _LEAF:
        return _leaf(_LEAF[template], path, seed, echo)
    repeated = echo.get(field_of(path), types.type_of(template), path)
    return template if repeated is None else repeated


def _fill_list(template: list[Any], path: str, seed: str, echo: Echo, depth: int) -> list[Any]:
    if len(template) != 1:
        return [_fill(item, f"{path}/{n}", seed, echo, depth - 1) for n, item in enumerate(template[:LONGEST_LIST])]
    element = template[0]
    if isinstance(element, str) and _LIST.fullmatch(element):
        return _fill(element, path, seed, echo, depth)
    length = element.get("_list_length", 1) if isinstance(element, dict) else 1
    length = min(max(length, 0), LONGEST_LIST) if isinstance(length, int) else 1
    return [_fill(element, f"{path}/{n}", seed, echo, depth - 1) for n in range(length)]


def _leaf(kind: str, path: str, seed: str, echo: Echo) -> Any:
    field = field_of(path)
    repeated = echo.get(field, kind, path)
    if repeated is not None:
        return repeated
    draw = values.draw_of(seed, path)
    if kind == "boolean":
        return draw % 4 != 0
    if kind == "integer":
        return values.integer(field, draw)
    if kind == "number":
        return values.number(field, draw)
    return values.text(field, draw) if kind == "string" else None


def field_of(path: str) -> str:
    """The words of the last name in a path: an element of a list goes by the list's."""
    return values.words_of(next((part for part in reversed(path.split("/")) if part and not part.isdigit()), "value"))


def _at_top(path: str) -> bool:
    above = path.split("/")[1:-1]
    return len(above) <= 1 and all(values.words_of(part) in _SHELLS for part in above)


def _squeezed(name: str) -> str:
    return values.words_of(name).replace("_", "")
