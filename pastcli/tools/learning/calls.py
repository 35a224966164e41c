"""An invented call of an API: arguments that its documentation allows, and the answer the simulator gives."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from ...api import Observation, Parameter, ToolEnv, ToolSpec
from ..environments import values
from ..environments.from_schema import from_schema
from ..validate import check

TRIES = 4
"""Different arguments that are tried before an API is given up."""

LONGEST = 60
"""Characters of a text argument: a question says it in one line."""

TAKES_DEFAULT = 0.3
OPTIONAL = 0.25


@dataclass(frozen=True)
class Call:
    """Arguments by their shown names, and what they were answered."""

    spec: ToolSpec
    arguments: dict[str, Any]
    observation: Observation


class _NoEcho:
    """Arguments repeat nothing: there is no call yet whose arguments they could be."""

    def get(self, field: str, kind: str, place: str) -> None:
        return None


def invented(spec: ToolSpec, env: ToolEnv, seed: str) -> Call | None:
    """A call that the documentation allows and the simulator answers; None if none was found.

    All required arguments are given and some optional ones. Values are the documentation's own or invented by type and
    name; an identifier carries the simulator's check digits, so that it exists (`environments.known`).
    """
    for attempt in range(TRIES):
        arguments = _arguments(spec, f"{seed}|{attempt}")
        if check(spec, arguments)[0]:
            continue
        observation = env.call(spec, arguments)
        if not observation.error:
            return Call(spec, arguments, observation)
    return None


def _arguments(spec: ToolSpec, seed: str) -> dict[str, Any]:
    draw = random.Random(f"{seed}|{'|'.join(spec.key)}")
    chosen = [p for p in spec.parameters if p.required or (_is_plain(p) and draw.random() < OPTIONAL)]
    own = spec.schema.get("properties", {})
    # By the source's own spelling: what a value is made of is told by its name, and `imdbID` says more than `imdbid`.
    members = {_spelled(parameter): own.get(parameter.name, {}) for parameter in chosen}
    part = {**spec.schema, "properties": members, "required": list(members)}
    made = from_schema(part, f"{seed}|{'|'.join(spec.key)}", _NoEcho())
    made = made if isinstance(made, dict) else {}
    return {p.name: _value(p, made.get(_spelled(p)), draw) for p in chosen}


def _spelled(parameter: Parameter) -> str:
    return parameter.raw_name or parameter.name


def _is_plain(parameter: Parameter) -> bool:
    return parameter.type in ("string", "integer", "number") or bool(parameter.enum)


def _value(parameter: Parameter, made: Any, draw: random.Random) -> Any:
    default = parameter.default
    usable = default not in (None, "") and not isinstance(default, bool) and len(str(default)) <= LONGEST
    if usable and draw.random() < TAKES_DEFAULT:
        return default
    thing = values.words_of(_spelled(parameter)).removesuffix("s")
    if values.is_identifier(thing) and not parameter.enum and isinstance(made, (str, int, float)):
        if parameter.type in ("integer", "number"):
            made = values.integer(thing, draw.getrandbits(60))
        elif "format" not in parameter.schema:
            made = values.text(thing, draw.getrandbits(60))
    if isinstance(made, float) and abs(made) >= 5:
        return round(made)  # what ToolBench calls NUMBER is nearly always a page, a count or a year
    if parameter.enum or not (made is None or isinstance(made, str)):
        return made
    if made is None or parameter.type == "any":  # a type nobody knows: a text by the argument's name
        made = values.text(values.words_of(_spelled(parameter)), draw.getrandbits(60))
    return made if len(made) <= LONGEST else made[:LONGEST].rsplit(" ", 1)[0].rstrip(" ,.:;")
