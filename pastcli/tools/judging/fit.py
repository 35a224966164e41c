"""Is a value of the query one that this parameter can mean? A word picked at random from the query was said, too.

Nothing here knows what an API does. It goes by the parameter's name and documented example, by what in the query is specific
(quoted, a name, a code, a number, a date) and what is only the way of asking.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from ...api import Parameter
from .dates import RELATIVE, clocks, dates
from .text import STOPWORDS, plain, stem, stems, words

CHATTER = frozenset(
    stem(word)
    for word in """provide provided details detail information info fetch generate available specific specifically help create retrieve
    check organizing organize project interested interesting include including working work surprise suggest suggestions looking look ensure
    recommend recommendations based gather personalized explore additionally furthermore moreover associated planning plan plans
    great using use used useful sources source related relevant various different multiple recent recently latest current currently
    curious developing develop developer starting analyze analysis research researching assist assistance thank thanks hank greatly
    appreciated wonderful amazing special family friend friends company colleague colleagues enthusiast fan blogger student team
    require requires required requirement needs needed wants wanted like love interest inspiration insights insight comprehensive
    particular corresponding obtain obtaining discover possible following example examples access able trying try going start
    share display compile calculate suitable necessary additional full overall purpose purposes happy excited eager eagerly awaiting
    received receive preparing prepare building build making made conduct conducting exploring searching collect collecting
    perform performing understand learn learning improve keep make making complete completed process upcoming""".split()
)
"""Words of asking rather than of what is asked for."""

_FREE = frozenset(
    "text content message body prompt sentence input html markdown comment description question q query search keyword keywords term phrase string document".split()
)
_WHOLE = frozenset(
    "text content message body prompt sentence input html markdown comment question document string".split()
)
_IDENTITY = frozenset(
    "id ids uuid guid code number key ref reference token sku isbn ean upc asin imei vin barcode iban".split()
)
_SPECIFIC = re.compile(
    r"'(?P<single>[^'\n]{1,200})'(?!\w)|[\"“](?P<double>[^\"”\n]{1,200})[\"”]|(?P<link>\b(?:https?://|www\.)\S+|\b\S+@\S+\.\w+)"
    r"|(?<![.!?]\s)(?<!^)(?<=[\s(])(?P<name>[A-Z][\w.&'-]*(?:\s(?:of|de|the|la)?\s?[A-Z][\w.&'-]*)*)|(?P<code>\b\w*\d[\w./:-]*)"
)


@lru_cache(maxsize=512)
def specifics(query: str) -> tuple[str, ...]:
    """What of a query can only be meant as itself: quoted texts, links, names inside sentences, whatever has a figure in it."""
    found = []
    for match in _SPECIFIC.finditer(query):
        text = next(value for value in match.groups() if value is not None).strip(" .,;:!?")
        if plain(text) not in ("i", "i'm", "i'd", "i've", "api", "apis", "id", "ids", "url", "json", "seo") and text:
            found.append(text)
    return tuple(found)


def is_specific(value: str, query: str) -> bool:
    """True if a value is part of a specific of the query, or holds one."""
    own = set(words(value))
    return any(own <= set(words(text)) or set(words(text)) <= own for text in specifics(query) if words(text))


def fits(value: Any, name: str, parameter: Parameter | None, query: str) -> bool:
    """True if a text that the query said can be what the parameter means. Numbers and other types fit."""
    if not isinstance(value, str):
        return True
    named = set(words(name))
    said = [word for word in words(value) if word not in STOPWORDS]
    if not said or all(stem(word) in CHATTER for word in said):
        return False
    if _is_whole_query(value, query) and not named & _WHOLE:
        return False
    if not _shape_fits(value, named, parameter):
        return False
    near = _near(value, named, query)
    if named & _IDENTITY and not near and not _has_figure(value) and any(map(_has_figure, specifics(query))):
        return False  # the query has a code, and this is not one
    return near or is_specific(value, query) or bool(named & _FREE) or not named & _IDENTITY


def _is_whole_query(value: str, query: str) -> bool:
    asked = words(query)
    return len(asked) >= 8 and len(words(value)) >= 0.8 * len(asked)


def _has_figure(text: str) -> bool:
    return any(char.isdigit() for char in text)


def _shape_fits(value: str, named: set[str], parameter: Parameter | None) -> bool:
    """What a name or a documented example says of a value's form."""
    figures = _has_figure(value)
    if named & {"email", "mail"} and "@" not in value:
        return False
    if named & {"url", "link", "website", "uri", "href"} and "." not in value:
        return False
    if (
        named & {"date", "day", "datetime", "checkin", "checkout"}
        and not (dates(value) or clocks(value) or figures or RELATIVE.search(plain(value)))
        and not re.search(r"day$", value)
    ):
        return False
    if named & {"lat", "latitude", "lon", "lng", "longitude", "phone", "zip", "postcode"} and not figures:
        return False
    example = str(parameter.default) if parameter is not None and isinstance(parameter.default, (str, int)) else ""
    if not example:
        return True
    if re.fullmatch(r"[\d.,:/ -]+", example) and not figures:
        return False
    lone = " " not in example.strip() and " " not in value.strip()
    if named & _IDENTITY and lone and _has_figure(example) and not figures:
        return False
    return not ("://" in example and "." not in value)


def _near(value: str, named: set[str], query: str) -> bool:
    """True if the query says the value beside the parameter's name: "the coin bitcoin", "margarita cocktail"."""
    asked = stems(query)
    about = {stem(word) for word in named if word not in _IDENTITY} - CHATTER
    own = [stem(word) for word in words(value)]
    places = [n for n in range(len(asked) - len(own) + 1) if asked[n : n + len(own)] == own]
    return any(about & set(asked[max(n - 4, 0) : n + len(own) + 4]) for n in places)


def copied_example(parameter: Parameter | None, value: Any, given: list[Any], query: str) -> bool:
    """True if a required argument is the documentation's own example although the query holds a value that could be meant:
    a specific which no argument of this call uses."""
    if parameter is None or not parameter.required or parameter.enum or isinstance(value, bool):
        return False
    used = {word for item in given if not isinstance(item, bool) for word in words(str(item))}
    left = [text for text in specifics(query) if not set(words(text)) & used]
    number = parameter.type in ("integer", "number")
    return any(
        fits(text, parameter.name, parameter, query) and (not number or re.fullmatch(r"[\d.,]+", text)) for text in left
    )
