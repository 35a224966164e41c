"""Where the arguments of a call come from. One that comes from nowhere is invented, and the call does not count.

A value is *grounded* if it was said in the query or by an earlier observation, or if the documentation gives it as default or
in an enum; compared by meaning: dates, clock times, numbers, units, names of countries, languages and currencies,
case, accents and word endings. Observations of calls that were themselves invented ground nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...api import Episode, Parameter, Step, ToolSpec
from . import names
from .dates import RELATIVE, Date, clocks, dates
from .fit import copied_example, counts_things, fits, goes_to_another, has_shape, passed_over
from .numbers import Number, dimension_of, in_any_unit, unit_of_key
from .passing import FREE, IDENTITY, named, passes_as
from .sources import Said, Sources
from .text import STOPWORDS, plain, stem, words

ENOUGH = 0.6
"""Share of a free text's meaningful words that must come from the sources: a search phrase may be put in the model's words."""

_PAGING = frozenset("limit page offset per size perpage pagesize results max".split())
_UNTELLING = frozenset("number amount value year month day date min max from start end".split())

_ZONE = re.compile(
    r"(?:Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Europe|Indian|Pacific)/(?:\w+/)?(?P<city>[\w-]+)"
)
"""A time zone is named after a city: who says Tokyo says Asia/Tokyo."""


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
            yield item


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
            if isinstance(leaf, bool):
                continue  # there are only two: nothing to invent
            count += 1
            if _is_held(leaf, name, arguments, sources, parameter):
                continue
            if copied_example(parameter, leaf, given, sources.query) or not any(
                _same(leaf, known) for known in documented
            ):
                invented.append(f"{name}={json.dumps(leaf, ensure_ascii=False)[:40]}")
    return Grounds(count, tuple(invented))


def _is_held(value: Any, name: str, arguments: dict[str, Any], sources: Sources, parameter: Parameter | None) -> bool:
    """True if a value was said, is not given for too much at once, and is none that was observed where the query has its own."""
    if _is_paging(value, parameter):
        return True
    if not said(value, name, sources, parameter) or _twice(value, name, arguments, sources.query):
        return False
    if _is_of_another(value, name, sources.asked):
        return False
    if all(word in sources.asked.words for word in words(str(value))):
        return not goes_to_another(str(value), parameter, sources.query)
    return not passed_over(parameter, sources.used, sources.query)


def _is_paging(value: Any, parameter: Parameter | None) -> bool:
    """True if an optional argument only says how much is shown at once: a page, a limit, up to a hundred."""
    if parameter is None or parameter.required or isinstance(value, bool) or not isinstance(value, int):
        return False
    return 0 <= value <= 100 and bool(named(parameter.name, parameter.raw_name) & _PAGING)


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
            if re.match(rf"\W{{1,2}}{root}\w*", query[end:]) or re.search(
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
                sources.observe(step.observation.response)
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


def said(value: Any, name: str, sources: Sources, parameter: Parameter | None = None) -> bool:
    """True if a value was said by the query, as something that this parameter can mean, or by an earlier observation."""
    spelled = named(name, parameter.raw_name) if parameter is not None else named(name)
    if isinstance(value, (int, float)):
        identity = bool(spelled & IDENTITY)
        known = sources.usable(spelled) if identity else sources.all()
        return any(_number_said(float(value), name, source, identity) for source in known)
    text = str(value)
    code = len(text) <= 3 or not spelled & (FREE | IDENTITY)
    if code and len(text) <= 12 and names.meanings(text) & sources.asked.meanings:
        return True  # AT is Austria, whatever else the letters spell
    if any(passes_as(path, spelled) for path in sources.exact.get(plain(text), ())) and has_shape(text, spelled):
        return True
    return _text_said(text, name, sources, list(sources.usable(spelled))) and fits(
        value, name, parameter, sources.query
    )


def _number_said(value: float, name: str, source: Said, identity: bool = False) -> bool:
    """True if a source has this number; as an identifier, where it does not count things."""
    unit = unit_of_key(words(name))
    for number in source.numbers:
        if identity and number.value == value and counts_things(source.text, number.span):
            continue
        if number.kind == "word" and abs(number.value) == 1 and not _counts(name, number, source.text):
            continue  # "one of my friends" gives nobody a 1
        near = 1e-9 * max(1.0, abs(value))
        if abs(number.value - value) <= near or (number.kind == "percent" and abs(number.value / 100 - value) <= near):
            return True
        other = number.in_unit(unit) if unit else None
        kind = next((kind for word in words(name) if (kind := dimension_of(word))), "")
        if not unit and any(abs(n.value - value) <= 1e-6 * max(1.0, abs(value)) for n in in_any_unit(number, kind)):
            return True  # 180 cm are a height of 1.8
        if other is not None and abs(other.value - value) <= 1e-6 * max(1.0, abs(value)):
            return True
        if (
            not number.signed
            and abs(number.value + value) <= near
            and re.search(r"\b[sw]\b|south|west|minus|below", plain(source.text))
        ):
            return True
    return any(value in (date.year, date.month, date.day) and _names_part(name, value, date) for date in source.dates)


def _counts(name: str, number: Number, text: str) -> bool:
    """True if the word after the number is the argument's own: 'one adult' for `adults`."""
    after = [stem(word) for word in words(text[number.span[1] :])[:2]]
    return any(stem(word) in after for word in words(name))


def _names_part(name: str, value: float, date: Date) -> bool:
    """True if an argument is named after the part of the date it holds."""
    part = {"year": date.year, "month": date.month, "day": date.day}
    return any(key in plain(name) and value == held for key, held in part.items()) or value == date.year


def _text_said(text: str, name: str, sources: Sources, known: list[Said]) -> bool:
    """A text of `known`, the sources that can be meant: word by word, or by what it means."""
    meaningful = [word for word in words(text) if word not in STOPWORDS] or words(text)
    if not meaningful:
        return plain(text).strip() in plain(sources.query) if text.strip() else True
    if dates(text) or clocks(text):
        return _moment_said(text, sources)
    if re.fullmatch(r"[-+]?\d[\d,]*(?:\.\d+)?", text.strip()):
        identity = bool(named(name) & IDENTITY)
        return any(_number_said(float(text.replace(",", "")), name, source, identity) for source in known)
    zone = _ZONE.fullmatch(text)
    if zone:
        meaningful = list(words(zone["city"]))
    meaning = names.meanings(text)
    for source in known:
        if all(word in source.words or stem(word) in source.words for word in meaningful):
            return True
        if meaning & source.meanings:
            return True
    return " " in text.strip() and _phrase_said(
        meaningful, known
    )  # a link or a code is no phrase: half of it is another


def _phrase_said(meaningful: Sequence[str], known: Sequence[Said]) -> bool:
    """A phrase of several words, most of which were said somewhere: a search text in the model's own words."""
    if len(meaningful) < 2:
        return False
    heard = frozenset[str]().union(*(source.words for source in known[:200]))
    numbers_said = all(word in heard for word in meaningful if any(char.isdigit() for char in word))
    share = sum(word in heard or stem(word) in heard for word in meaningful) / len(meaningful)
    return numbers_said and share >= (ENOUGH if len(meaningful) > 2 else 1.0)


def _moment_said(text: str, sources: Sources) -> bool:
    """Every date and time of an argument is one that was said; a relative one ("tomorrow") may be any."""
    relative = bool(RELATIVE.search(plain(sources.query)))
    known = list(sources.all())
    readings: dict[tuple[int, int], list[Date]] = {}
    for date in dates(text):  # 05/03/2024 has two
        readings.setdefault(date.span, []).append(date)
    for options in readings.values():
        agrees = any(date.agrees(other) for date in options for source in known for other in source.dates)
        if not agrees and not relative and not any(_year_said(date, known) for date in options):
            return False
    for clock in clocks(text):
        if (
            not any(clock.minutes & other.minutes for source in known for other in source.clocks)
            and min(clock.minutes) % 720
        ):
            return False  # midnight and noon bound a day that was said
    return True


def _year_said(date: Date, known: Iterable[Said]) -> bool:
    """The first or last day of a year that was said."""
    edge = (date.month, date.day) in ((1, 1), (12, 31))
    return edge and any(number.value == date.year for source in known for number in source.numbers)
