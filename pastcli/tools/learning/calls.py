"""An invented call of an API: arguments that its documentation allows, and the answer the simulator gives."""

from __future__ import annotations

import random
import re
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

_CODE = r"(?=[\w-]*[^\W\d_])(?=[\w-]*\d)[\w-]{6,}"
"""What an example looks like that is a code: letters and figures in one word."""

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
    usable = usable and values.words_of(str(default)) != values.words_of(_spelled(parameter))  # `url`, of a url
    if usable and draw.random() < TAKES_DEFAULT:
        return default
    thing = values.words_of(_spelled(parameter)).removesuffix("s")
    if values.is_identifier(thing) and not parameter.enum and isinstance(made, (str, int, float)):
        if parameter.type in ("integer", "number"):
            made = values.integer(thing, draw.getrandbits(60))
        elif "format" not in parameter.schema:
            made = values.text(f"{thing[:1]}_id", draw.getrandbits(60))
    if isinstance(made, float) and abs(made) >= 5:
        return round(made)  # what ToolBench calls NUMBER is nearly always a page, a count or a year
    if parameter.enum or not (made is None or isinstance(made, str)):
        return made
    if made is None or parameter.type == "any":  # a type nobody knows: a text by the argument's name
        made = values.text(values.words_of(_spelled(parameter)), draw.getrandbits(60))
    made = _in_form(made, values.words_of(_spelled(parameter)), default if usable else "", draw)
    return made if len(made) <= LONGEST else made[:LONGEST].rsplit(" ", 1)[0].rstrip(" ,.:;")


def _in_form(made: str, name: str, example: Any, draw: random.Random) -> str:
    """The text in the form that the documentation's example has, or the argument's name tells: figures, a link, a domain, a
    code. A page called "Quiet Harbour" or a domain with a space in it is no call that anybody would make."""
    shown, slug = str(example).strip(), re.sub(r"\W+", "-", made.lower()).strip("-")
    if re.search(r"(^|_)(domain|host|hostname)$", name) and "." not in made:
        return f"{slug}.example.com"
    if re.search(r"(^|_)(page|limit|size|per_page|offset|count|width|height|days)$", name) and not shown:
        return str(values.integer(name, draw.getrandbits(60)))
    if re.search(r"(^|_)(token|key|hash)$", name) or ("_" not in shown and re.fullmatch(_CODE, shown)):
        return made if re.search(r"\d", made) else values.text("id", draw.getrandbits(60))
    if re.search(r"(lat|lng|lon|latitude|longitude)$", name):
        return str(values.number(f"lat_{name}", draw.getrandbits(60)))
    if not shown or re.search(r"date|time", name):
        return made
    if re.fullmatch(r"-?\d+", shown):
        return made if re.fullmatch(r"-?\d+", made) else str(values.integer(name, draw.getrandbits(60)))
    if re.fullmatch(r"-?\d+\.\d+", shown):
        return str(values.number(name, draw.getrandbits(60)))
    if "://" in shown:
        return made if "://" in made else f"https://example.com/{slug}"
    coded = re.search(r"(code|id|slug)$", name) and re.fullmatch(r"[a-z]+", shown)
    return shown if coded or re.fullmatch(r"[\w,.:/-]{1,5}", shown) else made
