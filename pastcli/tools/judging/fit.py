"""Is a value of the query one that this parameter can mean? A word picked at random from the query was said, too.

Nothing here knows what an API does. It goes by the parameter's name and documented example, by what in the query is specific
(quoted, a name, a code, a number, a date) and what is only the way of asking.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from typing import Any

from ...api import Parameter
from .dates import RELATIVE, clocks, dates
from .passing import FREE, IDENTITY, PLAIN, named
from .spans import has_figure, is_among_quoted, is_quoted_in, is_specific, is_told_about, specifics, stands_alone
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
    perform performing api apis call calls app apps tool tools function functions endpoint understand learn learning improve keep make making complete completed process upcoming""".split()
)
"""Words of asking rather than of what is asked for."""

_WHOLE = frozenset(
    "text content message body prompt sentence input html markdown comment question document string".split()
)
_SETTINGS = frozenset(
    """language lang locale country region currency unit units format type sort order limit page size per offset count timezone tz output version
    mode category period interval range market base gl hl geo direction quality style theme key apikey token auth secret host""".split()
)
"""Words of how something is to be done rather than of what: an example of the documentation will do for them."""

_AMOUNTS = frozenset(
    "results top num n days day hours season year month week quantity amount total length length width height scale level skip start end from to".split()
)
"""Words of how much or when: an example does for them as well, where the query gives no number."""

LONG = 8
"""Words from which a search text is a text rather than a few words."""


def fits(value: Any, name: str, parameter: Parameter | None, query: str) -> bool:
    """True if a text that the query said can be what the parameter means. Numbers and other types fit."""
    if not isinstance(value, str):
        return True
    own = named(name, parameter.raw_name) if parameter is not None else named(name)
    said = [word for word in words(value) if word not in STOPWORDS]
    if not said or all(stem(word) in CHATTER for word in said):
        return stands_alone(value, query)
    if _is_whole_query(value, query) and not own & _WHOLE:
        return False
    if _is_own_name(value, own):
        return False
    worked_on = own & _WHOLE or (own & FREE and len(words(value)) >= LONG)
    if not _shape_fits(value, own, parameter) or (worked_on and not is_among_quoted(value, query)):
        return False
    near = _near(value, own, query)
    if own & IDENTITY and is_told_about(value) and not is_quoted_in(value, query):
        return False
    coded = own & IDENTITY and not near and not has_figure(value) and not _is_worded(value, parameter)
    if coded and not own & _SETTINGS and any(map(has_figure, specifics(query))):
        return False  # the query has a code, and this is not one
    return near or is_specific(value, query) or bool(own & FREE) or not own & IDENTITY or _is_worded(value, parameter)


def _is_worded(value: str, parameter: Parameter | None) -> bool:
    """True if the documentation's example of an identifier is a word ("bitcoin") or a short code ("eu"), and a value is one, too."""
    example = parameter.default.strip() if parameter is not None and isinstance(parameter.default, str) else ""
    alike = min(len(example), len(value)) >= 4 or len(example) == len(value)
    return alike and all(re.fullmatch(r"[^\W\d_]+", text) for text in (example, value))


def _is_own_name(value: str, name: frozenset[str]) -> bool:
    """True if a text only names the parameter: `pdfid` is not "PDF", nor `captcha` "captcha text"."""
    spelled = {stem(word) for word in name} | {
        stem(word.removesuffix(ending)) for word in name for ending in IDENTITY if word != ending
    }
    said = {stem(word) for word in words(value)}
    return (
        not name & FREE and bool(said & spelled) and said <= spelled | {stem(word) for word in IDENTITY | PLAIN | FREE}
    )


def _is_whole_query(value: str, query: str) -> bool:
    asked = words(query)
    return value not in specifics(query) and len(asked) >= 8 and len(words(value)) >= 0.6 * len(asked)


def has_shape(value: str, name: frozenset[str]) -> bool:
    """What a parameter's name alone says of a value's form."""
    figures = has_figure(value)
    if name & {"email", "mail"} and "@" not in value:
        return False
    if name & {"id", "ids", "uuid", "guid"} and not figures and len(value.split()) > 3:
        return False  # a sentence about an identifier is none
    if name & {"url", "link", "website", "uri", "href", "domain"} and not set(value) & set("./:"):
        return False
    if "host" in name and not (figures or set(value) & set("./:-_")):  # a machine may be called web-1
        return False
    if (
        name & {"date", "day", "datetime", "checkin", "checkout"}
        and not (dates(value) or clocks(value) or figures or RELATIVE.search(plain(value)))
        and not re.search(r"day$", value)
    ):
        return False
    return bool(figures or not name & {"lat", "latitude", "lon", "lng", "longitude", "phone", "zip", "postcode"})


def _shape_fits(value: str, name: frozenset[str], parameter: Parameter | None) -> bool:
    """What a name or a documented example says of a value's form."""
    if not has_shape(value, name):
        return False
    figures = has_figure(value)
    example = str(parameter.default) if parameter is not None and isinstance(parameter.default, (str, int)) else ""
    if not example:
        return True
    if re.fullmatch(r"[\d.,:/ -]+", example) and not figures:
        return False
    lone = " " not in example.strip() and " " not in value.strip()
    if name & IDENTITY and lone and has_figure(example) and not figures:
        return False
    return not ("://" in example and "." not in value)


def near(value: str, parameter: Parameter, query: str) -> bool:
    """True if the query says the value beside the parameter's name."""
    return _near(value, named(parameter.name, parameter.raw_name), query)


def _near(value: str, name: frozenset[str], query: str) -> bool:
    """True if the query says the value beside the parameter's name: "the coin bitcoin", "margarita cocktail"."""
    asked = stems(query)
    about = {stem(word) for word in name if word not in IDENTITY and word not in STOPWORDS} - CHATTER
    own = [stem(word) for word in words(value)]
    places = [n for n in range(len(asked) - len(own) + 1) if asked[n : n + len(own)] == own]
    return any(_named_in(about, asked[max(n - 4, 0) : n + len(own) + 4]) for n in places)


def _named_in(about: set[str], said: Sequence[str]) -> bool:
    """True if one of the words was said, or begins with one that was: `colorname` of a color."""
    return any(word == other or (len(other) > 3 and word.startswith(other)) for word in about for other in said)


def passed_over(parameter: Parameter | None, used: Set[str], query: str) -> str:
    """The value that the query gives for this required parameter and that no call has used so far; '' if there is none.

    It is given beside the parameter's name ("the input color 'pink'"), or is a code where an identifier is wanted ("ID 52").
    """
    if parameter is None or not parameter.required:
        return ""
    own = named(parameter.name, parameter.raw_name)
    for text in specifics(query):
        said = set(words(text))
        meant = _is_code(text, own, query) if own & IDENTITY else _is_given(text, own, parameter, query)
        if said and not said & used and has_shape(text, own) and meant:
            return text
    return ""


def _is_given(text: str, name: frozenset[str], parameter: Parameter, query: str) -> bool:
    """True if the query says a value beside the parameter's name; a bare number ("top 10 players") is none but for a number."""
    bare = not any(char.isalpha() for char in text) and parameter.type not in ("integer", "number")
    return not bare and _near(text, name, query)


def _is_code(text: str, name: frozenset[str], query: str) -> bool:
    """True if an identifier is wanted and the text is one: letters and figures mixed, many figures, or called one."""
    if not name & IDENTITY or not has_figure(text) or dates(text) or clocks(text):
        return False
    mixed = any(char.isalpha() for char in text) and not re.fullmatch(r"\d+(?:st|nd|rd|th|s|km|m|kg|g|p|k)", text)
    called = re.search(rf"\b(?:{'|'.join(IDENTITY)})\W{{0,3}}{re.escape(plain(text))}(?!\w)", plain(query))
    return mixed or sum(char.isdigit() for char in text) >= 5 or called is not None


def copied_example(parameter: Parameter | None, value: Any, given: list[Any], query: str) -> bool:
    """True if a required argument is the documentation's own example, and stands for what the request is about.

    A required parameter is that unless its name is one of a setting (a language, a format, a page, …): an example then
    answers another request. So it is too where the query holds a value that could be meant and no argument uses.
    """
    if parameter is None or not parameter.required or parameter.enum or isinstance(value, bool):
        return False
    if _is_subject(parameter, value):
        return True
    used = {word for item in given if not isinstance(item, bool) for word in words(str(item))}
    left = [text for text in specifics(query) if not set(words(text)) & used]
    number = parameter.type in ("integer", "number")
    return any(
        fits(text, parameter.name, parameter, query) and (not number or re.fullmatch(r"[\d.,]+", text)) for text in left
    )


def is_setting(parameter: Parameter) -> bool:
    """True if a parameter says how something is to be done: a language, a format, a page."""
    own = named(parameter.name, parameter.raw_name)
    return bool(own & _SETTINGS) or any(len(word) > 3 and word in "".join(own) for word in _SETTINGS)


def takes(parameter: Parameter, value: str, query: str) -> bool:
    """True if a parameter is made for a value of the query: required, for any text or name, an identifier for a code, or of
    the name beside which the value stands."""
    own = named(parameter.name, parameter.raw_name)
    code = bool(own & IDENTITY) and has_figure(value)
    return not is_setting(parameter) and (
        parameter.required or bool(own & (FREE | PLAIN)) or code or _near(value, own, query)
    )


def _is_subject(parameter: Parameter, value: Any) -> bool:
    own = named(parameter.name, parameter.raw_name)
    if is_setting(parameter):
        return False
    if own & IDENTITY or not re.fullmatch(r"[-+\d.,:/ ]*", str(value)):
        return True
    return not own & _AMOUNTS and not any(word.startswith(("max", "min")) for word in own)
