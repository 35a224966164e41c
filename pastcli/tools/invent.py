"""Realistic made-up values for a response: a pure function of the documentation, the arguments and a seed text.

StableToolBench's templates say `"str"`, `"int"`, `"list of str with length 3"` where a value goes, and mark
the length of a list by `_list_length` in its one element. A field is filled by what its name suggests; every
choice is a hash of the seed and the field's place, so one field does not depend on another.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

from ..api import ToolSpec
from . import types
from .names import standardize

LONGEST_LIST = 3
"""Elements of a list at most: an observation is cut at 1,024 characters anyway."""

DEEPEST = 12

_LEAF = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "NoneType": "null"}
_LIST = re.compile(r"list of (\w+) with length (\d+)")
_VERBS = frozenset("get list search find fetch show all by the a an of for to in on and or with from api".split())

_WORDS = {
    "city": ["Lisbon", "Oslo", "Kraków", "Valparaíso", "Kyoto", "Ghent", "Durban", "Quito"],
    "country": ["Portugal", "Norway", "Poland", "Chile", "Japan", "Belgium", "South Africa", "Ecuador"],
    "code": ["PRT", "NOR", "POL", "CHL", "JPN", "BEL", "ZAF", "ECU"],
    "currency": ["EUR", "NOK", "PLN", "CLP", "JPY", "USD", "ZAR", "GBP"],
    "language": ["en", "pt", "no", "pl", "es", "ja", "nl", "fr"],
    "person": ["Inês Duarte", "Erik Solberg", "Maja Nowak", "Tomás Rojas", "Aiko Mori", "Lotte Maes", "Ana Vega"],
    "company": ["Harbour & Lane", "Northfield Works", "Bluepeak", "Sorrel Studio", "Ostara Group", "Kestrel Line"],
    "status": ["active", "pending", "completed", "delayed", "confirmed", "available"],
    "category": ["standard", "premium", "classic", "outdoor", "family", "express"],
    "colour": ["red", "navy", "olive", "amber", "teal", "ivory"],
    "weather": ["light rain", "clear sky", "scattered clouds", "strong breeze", "fog in the morning", "snow showers"],
    "adjective": ["Silver", "Quiet", "Northern", "Golden", "Hidden", "Second", "Open", "Winter"],
    "noun": ["Harbour", "Garden", "Signal", "Crossing", "Lantern", "Meadow", "Archive", "Horizon"],
}
_HINTS = (
    (r"city|town|place|location|localisation|address|stadium|venue", "city"),
    (r"country|nation|pays", "country"),
    (r"currency", "currency"),
    (r"lang|locale", "language"),
    (r"iso|(?<!bar)code|symbol|abbr|ticker", "code"),
    (r"author|artist|actor|director|player|user|person|coach|(first|last|full)_?name|by$", "person"),
    (r"company|brand|publisher|team|club|operator|carrier|vendor", "company"),
    (r"status|state|availability", "status"),
    (r"type|category|kind|class|genre|tag|level|mode", "category"),
    (r"colou?r", "colour"),
    (r"weather|condition|forecast|sky", "weather"),
)
"""Which words a text field is filled with, by the first pattern its name matches."""

_NUMBERS = (
    (r"(^|_)lat", -60, 60, 4),
    (r"(^|_)lon|lng", -170, 170, 4),
    (r"year", 1985, 2027, 0),
    (r"percent|probab|humid|proportion", 1, 99, 1),
    (r"temp|celsius", -4, 31, 1),
    (r"rating|score|stars", 1, 5, 1),
    (r"price|fare|amount|cost|fee|rate$|salary", 4, 480, 2),
    (r"month", 1, 12, 0),
    (r"day", 1, 28, 0),
    (r"age$", 18, 80, 0),
    (r"status(_?code)?$", 200, 200, 0),
    (r"wind|speed|km_?h", 3, 64, 0),
    (r"metre|meter|height|depth", 0, 6, 2),
    (r"minute|delay|duration", 2, 95, 0),
    (r"(^|_)id$|number$|identifier", 1000, 99999, 0),
    (r"count|total|nb|num|size|seats|left|page|limit", 1, 40, 0),
    (r"views|followers|fans|population|likes", 900, 90000, 0),
)
"""(pattern of the name, lowest, highest, decimals) of a number field."""


def response(spec: ToolSpec, arguments: dict[str, Any], seed: str) -> Any:
    """A response to a valid call; arguments, given or default, are echoed where a field has a parameter's name."""
    template = spec.response_template
    if template in (None, "", {}, []):
        template = _template_from_names(spec, arguments)
    echo = {}
    for parameter in spec.parameters:
        value = arguments.get(parameter.name, parameter.default)
        if value is not None:
            echo.update({standardize(parameter.name): value, standardize(parameter.raw_name): value})
    return _fill(template, "", seed, echo, DEEPEST)


def _template_from_names(spec: ToolSpec, arguments: dict[str, Any]) -> dict[str, Any]:
    """What an undocumented response might hold: the arguments, and an element for the noun in the API's name."""
    nouns = [word for word in standardize(spec.api).split("_") if word and word not in _VERBS]
    subject = "_".join(nouns[:3]) or "result"
    fields = {"id": "str", "name": "str", "description": "str", "status": "str", "updated": "str"}
    return {**dict.fromkeys(arguments, "str"), subject: fields}


def _fill(template: Any, path: str, seed: str, echo: dict[str, Any], depth: int) -> Any:
    """A value shaped like `template`; `path` names its place, such as `results/1/title`."""
    if depth == 0:
        return None
    if isinstance(template, dict):
        keys = [key for key in template if key != "_list_length"]
        return {key: _fill(template[key], f"{path}/{key}", seed, echo, depth - 1) for key in keys}
    if isinstance(template, list):
        return _fill_list(template, path, seed, echo, depth)
    if not isinstance(template, str):
        return template
    if template == "empty list":
        return []
    several = _LIST.fullmatch(template)
    if several:
        kind, length = several[1], min(int(several[2]), LONGEST_LIST)
        return [] if kind not in _LEAF else [_leaf(_LEAF[kind], f"{path}/{n}", seed, {}) for n in range(length)]
    # Anything else is an example the documentation gives, and stands for itself.
    return _leaf(_LEAF[template], path, seed, echo) if template in _LEAF else template


def _fill_list(template: list[Any], path: str, seed: str, echo: dict[str, Any], depth: int) -> list[Any]:
    if len(template) != 1:
        return [_fill(item, f"{path}/{n}", seed, echo, depth - 1) for n, item in enumerate(template[:LONGEST_LIST])]
    element = template[0]
    if isinstance(element, str) and _LIST.fullmatch(element):
        return _fill(element, path, seed, echo, depth)
    length = element.get("_list_length", 1) if isinstance(element, dict) else 1
    length = min(max(length, 0), LONGEST_LIST) if isinstance(length, int) else 1
    # Elements of a list differ in what identifies them, so identifiers are not echoed inside one.
    inner = {name: value for name, value in echo.items() if not re.search(r"(^|_)id$|^is_id$", name)}
    return [_fill(element, f"{path}/{n}", seed, inner, depth - 1) for n in range(length)]


def _leaf(kind: str, path: str, seed: str, echo: dict[str, Any]) -> Any:
    field = standardize(next((part for part in reversed(path.split("/")) if part and not part.isdigit()), "value"))
    value = echo.get(field)
    if value is not None and types.is_of(value, kind):
        return value
    if value is not None and kind == "string" and not isinstance(value, (dict, list)):
        return str(value)
    draw = int.from_bytes(sha256(f"{seed}\0{path}".encode("utf-8", "replace")).digest()[:8])
    if kind == "boolean":
        return draw % 4 != 0
    if kind in ("integer", "number"):
        return _number(kind, field, draw)
    return _text(field, draw) if kind == "string" else None


def _number(kind: str, field: str, draw: int) -> int | float:
    low, high, digits = next(((a, b, d) for hint, a, b, d in _NUMBERS if re.search(hint, field)), (1, 900, 2))
    if kind == "integer":
        return low + draw % (high - low + 1)
    return round(low + (draw % 10**6) / 10**6 * (high - low), digits or 1)


def _text(field: str, draw: int) -> str:
    def pick(words: str) -> str:
        return _WORDS[words][draw // 97 % len(_WORDS[words])]

    name = f"{_WORDS['adjective'][draw % 8]} {_WORDS['noun'][draw // 8 % 8]}"
    slug = name.lower().replace(" ", "-")
    date = f"{2023 + draw % 4}-{1 + draw // 4 % 12:02d}-{1 + draw // 48 % 28:02d}"
    clock = f"{draw // 5 % 24:02d}:{draw // 120 % 12 * 5:02d}"
    if re.search(r"image|img|photo|poster|icon|logo|thumb", field):
        return f"https://example.com/{slug}.jpg"
    if re.search(r"url|link|uri|href|website", field):
        return f"https://example.com/{slug}"
    if re.search(r"e_?mail", field):
        return f"{slug}@example.com"
    if re.search(r"phone|mobile|fax", field):
        return f"+1-555-{draw % 900 + 100}-{draw // 900 % 9000 + 1000}"
    if re.search(r"date|updated|created|published|(^|_)day$", field):
        return date
    if re.search(r"datetime|timestamp", field):
        return f"{date}T{clock}:00Z"
    if re.search(r"time|hour|depart|arriv|_at$|opens|closes|water", field):
        return clock
    if re.search(r"(^|_)id$|uuid|guid|reference|number|slug|(^|_)key$", field):
        return f"{field[:1].upper()}{draw % 9000 + 1000}-{draw // 9000 % 90 + 10}"
    if re.search(r"price|fare|amount|cost|rate$|count|total|score", field):
        return str(_number("number", field, draw))
    if re.search(r"description|summary|text|message|bio|overview|content|body|comment|note|info", field):
        return f"{name}: {pick('category')}, {pick('status')} since {date}."
    if "version" in field:
        return f"{1 + draw % 4}.{draw // 4 % 12}.{draw // 48 % 20}"
    words = next((words for hint, words in _HINTS if re.search(hint, field)), None)
    return pick(words) if words else name
