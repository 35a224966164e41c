"""Where the arguments of a call come from. One that comes from nowhere is invented, and the call does not count.

A value is *grounded* if it was said in the query or by an earlier observation, or if the documentation gives it as default or
in an enum; compared by meaning: dates, clock times, numbers, units, names of countries, languages and currencies,
case, accents and word endings. Observations of calls that were themselves invented ground nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...api import Episode, Parameter, Step, ToolSpec
from . import names
from .dates import dates
from .fit import copied_example, passed_over
from .numbers import amount, numbers
from .passing import named
from .requests import asks_outright
from .said import is_regrouped, is_turned_round, said
from .sources import Said, Sources
from .text import STOPWORDS, plain, stem, words

_PAGING = frozenset("limit count page offset per size perpage pagesize results max".split())
_UNTELLING = frozenset("number amount value year month day date min max from start end".split())


@dataclass(frozen=True)
class Grounds:
    """One call's arguments: how many values there are, and which are invented."""

    values: int
    invented: tuple[str, ...]


def leaves(value: Any) -> Iterator[Any]:
    """The texts, numbers and booleans inside a JSON value."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(reversed(item.values()))
        elif isinstance(item, list):
            pending.extend(reversed(item))
        elif item is not None and item != "":
            yield amount(item)


def grounds(spec: ToolSpec, arguments: Any, sources: Sources) -> Grounds:
    """Judge the arguments of one call by what was known before it."""
    if not isinstance(arguments, dict):
        return Grounds(1, (json.dumps(arguments)[:60],))
    invented, count = [], 0
    given = list(leaves(arguments))
    sources.used.update(word for leaf in given if not isinstance(leaf, bool) for word in words(str(leaf)))
    for name, value in arguments.items():
        parameter = spec.parameter(name)
        documented = _documented(spec.schema.get("properties", {}).get(parameter.name if parameter else name))
        for leaf in leaves(value):
            if isinstance(leaf, bool) or plain(str(leaf)) in ("true", "false"):
                continue  # there are only two: nothing to invent
            count += 1
            tool = isinstance(leaf, str) and _is_tool_only(leaf, spec, sources.query)
            if (
                not tool
                and not _runs_on(leaf, sources.query)
                and _is_held(leaf, name, arguments, sources, parameter, named(spec.api))
            ):
                continue
            if copied_example(parameter, leaf, given, sources.query) or not any(
                _same(leaf, known) for known in documented
            ):
                invented.append(f"{name}={json.dumps(leaf, ensure_ascii=False)[:40]}")
    return Grounds(count, tuple(invented))


def _is_tool_only(value: str, spec: ToolSpec, query: str) -> bool:
    """True if a value is what the tool is called, and the query only says it to name the tool ("using the ColorMe API")."""
    if len(words(value)) == 0 or words(value) != words(spec.tool):
        return False
    name, said = re.escape(plain(value)), plain(query)
    alone = rf"(?<!\w){name}(?!\w)"
    naming = rf"\b(?:using|with|via|by|from|on|use|can|could|does|would|ask|let|have) (?:the )?{alone}|{alone} (?:apis?|tools?)\b"
    return len(re.findall(naming, said)) >= len(re.findall(alone, said)) > 0


def _runs_on(value: Any, query: str) -> bool:
    """True if a text goes on into what the query asks to be told ("D2145-50. What is the code?"), and is nothing that it quotes or
    leads to by a colon."""
    said, text = plain(query), plain(value) if isinstance(value, str) else ""
    parts = re.split(r"[.?!;]\s+", text.strip(), maxsplit=1)
    place = said.find(text)
    return len(parts) > 1 and place > 0 and asks_outright(parts[1]) and not re.search(r"[:\"'“«]\s*\Z", said[:place])


def _is_held(
    value: Any,
    name: str,
    arguments: dict[str, Any],
    sources: Sources,
    parameter: Parameter | None,
    about: frozenset[str] = frozenset(),
) -> bool:
    """True if a value was said, is not given for too much at once, and is none that was observed where the query has its own."""
    if _is_paging(value, parameter) or _is_period(value, sources.query):
        return True
    if isinstance(value, str) and is_regrouped(value, sources.query):
        return True
    if isinstance(value, str) and is_turned_round(value, name, sources.query):
        return False
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else []
    listed = 1 < len(parts) <= 20 and all(0 < len(words(part)) <= 4 for part in parts) and not dates(str(value))
    if listed and all(_is_held(part, name, {}, sources, parameter) for part in parts):
        return True
    if not said(value, name, sources, parameter, about) or _twice(value, name, arguments, sources.query):
        return False
    if _is_of_another(value, name, sources.asked):
        return False
    if _is_neighbours(str(value), sources):
        return False
    if isinstance(value, str) and names.meanings(value) & sources.asked.meanings:
        return True
    if all(word in sources.asked.words for word in words(str(value))):
        return True
    return not passed_over(parameter, sources.used, sources.query)


def _is_paging(value: Any, parameter: Parameter | None) -> bool:
    """True if an optional argument only says how much is shown at once: a page, a limit, up to a hundred."""
    if parameter is None or parameter.required or isinstance(value, bool) or not isinstance(value, int):
        return False
    return 0 <= value <= 100 and bool(named(parameter.name, parameter.raw_name) & _PAGING)


def _is_neighbours(value: str, sources: Sources) -> bool:
    """True if a value was observed of something in a list, and the query names something else in that list: boxing for yoga."""
    seen = sources.rivals.get(plain(value), [])
    if not seen or plain(value) in plain(sources.query):
        return False
    asked = frozenset(words(sources.query))
    return all(not own & asked - STOPWORDS and len(others & asked) > 0 for own, others in seen)


def _is_period(value: Any, query: str) -> bool:
    """True if a short text is a stretch of time that the query names: `1mo` of "the last month", `5d` of "five days"."""
    found = (
        re.fullmatch(r"(\d{1,3}) ?(m|mo|mon|d|w|wk|y|yr|h|day|week|month|year|hour)s?", value.lower())
        if isinstance(value, str)
        else None
    )
    if not found:
        return False
    unit = {"m": "month", "d": "day", "w": "week", "y": "year", "h": "hour"}[found[2][0]]
    asked = plain(query)
    many = [n.value for n in numbers(query) if re.match(rf"\s?{unit}", asked[n.span[1] :])]
    return float(found[1]) in many or (found[1] == "1" and not many and re.search(rf"\b{unit}\b", asked) is not None)


def _is_of_another(value: Any, name: str, asked: Said) -> bool:
    """True if the query gives a number under this name ("2 deaths"), and this is another one that it gives."""
    own = [word for word in words(name) if len(word) > 2 and word not in _UNTELLING]
    if not own or not isinstance(value, (int, float)):
        return False
    query = plain(asked.text)
    beside = set()
    for word in own:
        root = re.escape(stem(word))
        for number in asked.numbers:
            begin, end = number.span
            if re.match(rf"[ -]{{1,2}}{root}\w*", query[end:]) or re.search(
                rf"\b{root}\w*\W{{1,2}}(?:(?:of|is|are|to|at)\W)?\Z", query[:begin]
            ):
                beside.add(number.value)
    return bool(beside) and value not in beside and any(number.value == value for number in asked.numbers)


def _twice(value: Any, name: str, arguments: dict[str, Any], query: str) -> bool:
    """True if one word of the query is given as two different arguments, or one number as three: it can hardly be all."""
    if not isinstance(value, str):
        same = [other for other, given in arguments.items() if not isinstance(given, bool) and given == value]
        return (
            len(same) > 2
            and name in same
            and len(re.findall(rf"(?<!\d){re.escape(str(value))}(?!\d)", query)) < len(same)
        )
    if dates(value):
        return False
    same = [other for other, given in arguments.items() if isinstance(given, str) and plain(given) == plain(value)]
    return len(same) > 1 and name in same and plain(query).count(plain(value)) < len(same)


def counted(episode: Episode) -> list[tuple[Step, ToolSpec, Grounds]]:
    """Every valid call of an episode with its grounds, in order. Only observations of grounded calls ground later ones."""
    specs = {spec.name: spec for spec in episode.task.tools}
    sources = Sources(episode.task.query)
    found = []
    for step in episode.steps:
        if step.outcome == "ok" and step.observation is not None:
            judged = grounds(specs[step.action], step.arguments, sources)
            found.append((step, specs[step.action], judged))
            if not judged.invented:
                sources.observe(step.observation.response, step.arguments)
    return found


def _documented(schema: Any) -> list[Any]:
    """Defaults, enums and constants anywhere inside a parameter's schema."""
    found: list[Any] = []
    pending = [schema]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            for key, inner in item.items():
                if key in ("default", "const") or key == "enum":
                    found += list(leaves(inner))
                elif key in ("properties", "items", "anyOf", "oneOf", "allOf", "prefixItems", "additionalProperties"):
                    pending += inner.values() if key == "properties" and isinstance(inner, dict) else [inner]
        elif isinstance(item, list):
            pending += item
    return found


def _same(value: Any, known: Any) -> bool:
    return plain(str(value)).strip() == plain(str(known)).strip()
