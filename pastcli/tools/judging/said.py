"""Was a value said, and as something that this argument can mean: compared by meaning, as numbers, moments, texts and codes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ...api import Parameter
from . import names
from .dates import RELATIVE, Date, clocks, dates
from .fit import fits, has_shape
from .numbers import Number, in_any_unit, in_units
from .passing import FREE, IDENTITY, PLAIN, named, passes_as
from .sources import Said, Sources
from .spans import counts_things
from .text import STOPWORDS, plain, stem, words
from .units import dimension_of, unit_of_key

ENOUGH = 0.6
"""Share of a free text's meaningful words that must come from the sources: a search phrase may be put in the model's words."""

_FROM = {"from", "origin", "source", "base", "departure"}
_TO = {"to", "target", "destination", "arrival"}
_TURNS = re.compile(r"\b(?:convert|translat\w*|exchang\w*|worth|how (?:much|many)|express\w*|turn)\b")
_ZONE = re.compile(
    r"(?:Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Europe|Indian|Pacific)/(?:\w+/)?(?P<city>[\w-]+)"
)
"""A time zone is named after a city: who says Tokyo says Asia/Tokyo."""


def is_regrouped(text: str, query: str) -> bool:
    """True if a text is a long number of the query with its figures grouped in another way: of a telephone, an account."""
    figures = re.sub(r"\D", "", text)
    if len(figures) < 7 or not re.fullmatch(r"[-+\d ()./]+", text):
        return False
    return any(re.sub(r"\D", "", one) == figures for one in re.findall(r"\+?\(?\d[\d .\-/()]{5,}\d", query))


def is_turned_round(value: str, name: str, query: str) -> bool:
    """True if an argument is where from, and the query names its value only as where to; or the other way round."""
    own = set(words(name))
    way = "from" if own & _FROM else "to" if own & _TO else ""
    if not way or re.search(r"\b(?:distance|how far|between)\b", plain(query)):  # the same both ways
        return False
    spoken = words(query)
    meaning, text = names.meanings(value), words(value)
    measured = {one for number in in_units(query) for one in names.meanings(number.unit)}
    if measured and any(one.startswith("unit:") for one in meaning):  # 26.2 miles are to be turned from miles
        return bool(measured & meaning) == (way == "to")
    before = set()
    for length in (1, 2, 3):
        for place in range(1, len(spoken) - length + 1):
            part = spoken[place : place + length]
            if part == text or (meaning and names.meanings(" ".join(part)) & meaning):
                word = spoken[place - 1]
                before.add("to" if word == "into" or (word == "in" and _TURNS.search(plain(query))) else word)
    return ("to" if way == "from" else "from") in before and way not in before


def said(
    value: Any, name: str, sources: Sources, parameter: Parameter | None = None, about: frozenset[str] = frozenset()
) -> bool:
    """True if a value was said by the query, as something that this parameter can mean, or by an earlier observation.

    `about` are the words of what the API is called: its plain `name` is the name of that.
    """
    spelled = named(name, parameter.raw_name) if parameter is not None else named(name)
    if spelled <= PLAIN:
        spelled |= about
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
    spelled = {re.sub(r"[\W_]", "", token) for token in plain(sources.query).split()}
    if re.sub(r"[\W_]", "", plain(text)) in spelled:  # sha1 is SHA-1
        return True
    if all(_begins(word, sources.asked.words) for word in meaningful):
        return True
    for source in known:
        if all(word in source.words or stem(word) in source.words for word in meaningful):
            return True
        if meaning & source.meanings:
            return True
    return " " in text.strip() and _phrase_said(
        meaningful, known
    )  # a link or a code is no phrase: half of it is another


def _begins(word: str, said: Iterable[str]) -> bool:
    """True if a word is one that was said, shortened or whole: ether and ethereum."""
    return any(
        min(len(word), len(other)) >= max(5, 0.6 * max(len(word), len(other)))
        and (word.startswith(other) or other.startswith(word))
        for other in said
    )


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
            and not any(_is_hour(number, clock.minutes) for number in sources.asked.numbers)
        ):
            return False  # midnight and noon bound a day that was said
    return True


def _is_hour(number: Number, minutes: Iterable[int]) -> bool:
    """True if a number of the query can be a full hour: "from 9 to 11"."""
    return 1 <= number.value <= 24 and any(
        minute % 60 == 0 and (minute // 60 - number.value) % 12 == 0 for minute in minutes
    )


def _year_said(date: Date, known: Iterable[Said]) -> bool:
    """The first or last day of a year that was said."""
    edge = (date.month, date.day) in ((1, 1), (12, 31))
    return edge and any(number.value == date.year for source in known for number in source.numbers)
