"""Dates and clock times in a text, however written: 2024-03-05, 5 March, Mar 5th 2024, 14:30, 2:30 pm, noon."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from .text import plain

_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = "(?P<m>" + "|".join(rf"{name}|{name[:3]}{'t?' if name[:3] == 'sep' else ''}" for name in _MONTHS) + r")\b\.?"
_MONTHS_OF_ONE_YEAR = (
    rf"\b{_MONTH}\s*(?:and|or|to|-|,)\s*(?:in\s+)?{_MONTH.replace('?P<m>', '?P<m2>')}\s+(?P<y>\d{{4}})\b"
)
"""March and April 2024."""
_DAY = r"(?P<d>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,?\s+(?:of\s+)?(?P<y>\d{4}))?"
_FORMS = tuple(
    re.compile(form)
    for form in (
        r"\b(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})(?!\d)",
        r"\b(?P<a>\d{1,2})[-/.](?P<b>\d{1,2})[-/.](?P<y>\d{4})\b",
        r"\b(?P<y>(?:19|20)\d\d)(?P<m>0[1-9]|1[0-2])(?P<d>[0-2]\d|3[01])\b",
        rf"\b{_DAY}\s*(?:to|-|until|till|through|and)\s*(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}{_YEAR}",
        rf"\b{_DAY}\s+(?:of\s+)?{_MONTH}{_YEAR}",
        rf"\b{_MONTH}\s+{_DAY}\s*(?:to|-|until|till|through|and)\s*(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?{_YEAR}(?!\d|:)",
        rf"\b{_MONTH}\s+{_DAY}{_YEAR}(?!\d|:)",
        _MONTHS_OF_ONE_YEAR,
        rf"\b{_MONTH}\s+(?P<y>\d{{4}})\b",
        r"\b(?P<y>\d{4})-(?P<m>0[1-9]|1[0-2])\b",
    )
)
_TIME = re.compile(
    r"(?<![\d:.])(?P<h>\d{1,2})(?::(?P<min>\d\d)(?!\.\d))?(?::\d\d(?:\.\d+)?)?\s*(?P<half>[ap]\.?\s?m\b\.?)?(?![\d:%])"
)
_RANGE_HALF = re.compile(r"\s*(?:to|-|until|till|and)\s*\d{1,2}(?::\d\d)?\s*(?P<half>[ap])\.?\s?m\b")
_SPOKEN_HOUR = re.compile(
    r"\s*(?:o'clock(?:\s+(?:in the|at)\s+(?:morning|afternoon|evening|night))?|in the (?:morning|afternoon|evening)|at night)\b"
)
_HOURS = {
    word: n for n, word in enumerate("one two three four five six seven eight nine ten eleven twelve".split(), start=1)
} | {"twenty": 20, "twenty-five": 25}
_PAST = re.compile(
    rf"\b(?:(?P<gap>half|quarter|\d{{1,2}}|{'|'.join(sorted(_HOURS, key=len, reverse=True))})(?: minutes)? (?P<way>past)"
    rf"|(?P<before>quarter|(?:\d{{1,2}}|five|ten|twenty|twenty-five)(?= minutes)|(?:(?<=at )|(?<=by )|(?<=depart )|(?<=about )|(?<=until ))(?:five|ten|twenty))(?: minutes)? to)"
    rf" (?P<hour>\d{{1,2}}|{'|'.join(list(_HOURS)[:12])})(?![\w:])(?!-)(?:\s?(?P<half>[ap])\.?m\b)?"
)
_WORD_HOUR = re.compile(
    rf"\b(?P<hour>{'|'.join(list(_HOURS)[:12])})(?: o'clock)?(?: (?P<half>[ap])\.?m\b| (?:in the|at) (?P<part>morning|afternoon|evening|night)|(?<=o'clock))"
)
"""Eight in the morning, one pm, nine o'clock."""
_FEASTS = {
    "christmas eve": (12, 24),
    "christmas day": (12, 25),
    "boxing day": (12, 26),
    "new year's eve": (12, 31),
    "new year's day": (1, 1),
    "valentine's day": (2, 14),
    "halloween": (10, 31),
}
_DAYTIME = re.compile(r"\b(morning|afternoon|evening|night)\b")
RELATIVE = re.compile(
    r"\b(today|tonight|tomorrow|yesterday|now|current(?:ly)?|upcoming|weekend|(?:next|this|last|past|coming|previous|recent|latest)\b)"
)
"""Words for dates that only a calendar could resolve."""


_FIGURE = re.compile(r"\d")
_MAY_TELL = re.compile(r"\d|noon|midnight|\bpast\b|\bto\b|o'clock|morning|afternoon|evening|night|\b[ap]\.?m\b")
"""Without one of these a text holds no time of day."""
MOST = 200
"""Dates of one text that are looked at."""


@dataclass(frozen=True)
class Date:
    """A date as far as it was said; None for what was not. `span` is where it stands in the text."""

    year: int | None
    month: int
    day: int | None
    span: tuple[int, int] = (0, 0)

    @property
    def whole(self) -> date | None:
        """The day itself, where all of it was said and it exists."""
        try:
            return date(self.year, self.month, self.day) if self.year and self.day else None
        except ValueError:
            return None

    def agrees(self, other: Date) -> bool:
        """True if the two can be the same day, and share more than nothing."""
        pairs = ((self.year, other.year), (self.month, other.month), (self.day, other.day))
        return all(a == b or a is None or b is None for a, b in pairs)


@dataclass(frozen=True)
class Clock:
    """A time of day as the minutes after midnight that it can mean: two of them where am or pm was left out."""

    minutes: frozenset[int]
    span: tuple[int, int] = (0, 0)


@lru_cache(maxsize=4096)
def dates(text: str) -> list[Date]:
    """Every date in a text. Day and month in figures are taken both ways round where both are possible."""
    text = plain(text)
    found: list[Date] = []
    taken: list[tuple[int, int]] = []
    for form in _FORMS if _FIGURE.search(text) else ():  # most texts have none
        for match in form.finditer(text):
            if len(taken) >= MOST:
                break
            if any(match.start() < end and begin < match.end() for begin, end in taken):
                continue
            options = list(_readings(match))
            if options:
                taken.append(match.span())
                found += options
    for match in re.finditer("|".join(_FEASTS), text):
        found.append(Date(None, *_FEASTS[match[0]], match.span()))
    known = {date.year for date in found if date.year}
    if len(known) == 1:  # "from July 3rd to July 5th 2024"
        year = known.pop()
        found = [Date(date.year or year, date.month, date.day, date.span) for date in found]
    return sorted(found, key=lambda date: date.span)


def _month(name: str) -> int:
    return next(n for n, month in enumerate(_MONTHS, 1) if month.startswith(name[:3]))


def _readings(match: re.Match[str]) -> Iterator[Date]:
    parts = match.groupdict()
    year = int(parts["y"]) if parts.get("y") else None
    if "a" in parts:
        for day, month in ((int(parts["a"]), int(parts["b"])), (int(parts["b"]), int(parts["a"]))):
            if month <= 12 and 1 <= day <= 31 and month:
                yield Date(year, month, day, match.span())
        return
    name = parts["m"]
    month = int(name) if name.isdigit() else _month(name)
    if not 1 <= month <= 12:
        return
    if parts.get("d") is None:
        yield Date(year, month, None, match.span())
    if parts.get("m2"):
        yield Date(year, _month(parts["m2"]), None, match.span())
    for key in ("d", "d2"):
        if parts.get(key) and 1 <= int(parts[key]) <= 31:
            yield Date(year, month, int(parts[key]), match.span())


def _spoken(text: str) -> Iterator[Clock]:
    """Half past six, a quarter to nine, ten past five; in the evening where that is said."""
    for match in _PAST.finditer(text):
        hour = _HOURS[match["hour"]] if match["hour"] in _HOURS else int(match["hour"])
        said = match["gap"] or match["before"]
        gap = {"half": 30, "quarter": 15}.get(said) or _HOURS.get(said) or int(said)
        if hour <= 12 and gap < 60:
            base = (hour * 60 + (gap if match["way"] else -gap)) % 720
            around = _DAYTIME.search(text, match.end(), match.end() + 24)
            half = match["half"] or ("" if around is None else "a" if around[0] == "morning" else "p")
            yield Clock(frozenset({base + 720 * (half == "p")} if half else {base, base + 720}), match.span())


@lru_cache(maxsize=4096)
def clocks(text: str) -> list[Clock]:
    """Every clock time in a text: with minutes, with am or pm, or as noon and midnight."""
    text = plain(text)
    if not _MAY_TELL.search(text):
        return []
    found = [
        Clock(frozenset({720 if match[0] == "noon" else 0}), match.span())
        for match in re.finditer(r"\b(noon|midnight)\b", text)
    ]
    found += _spoken(text)
    for match in _WORD_HOUR.finditer(text):
        hour = _HOURS[match["hour"]] % 12
        late = match["half"] == "p" or (match["part"] and match["part"] != "morning")
        sure = match["half"] or match["part"]
        if any(match.start() < clock.span[1] and clock.span[0] < match.end() for clock in found):
            continue  # half past seven in the evening
        options = {60 * hour + 720 * bool(late)} if sure else {60 * hour, 60 * hour + 720}
        found.append(Clock(frozenset(options), match.span()))
    for match in _TIME.finditer(text):
        hour, minute, half = int(match["h"]), match["min"], (match["half"] or "")[:1]
        ahead = _RANGE_HALF.match(text, match.end()) if not half else None
        if ahead and hour <= 12:  # "6 to 8 am"
            half = ahead["half"]
        spoken = not half and _SPOKEN_HOUR.match(text, match.end())
        if (
            (minute is None and not half and not spoken)
            or hour > 24
            or int(minute or 0) > 59
            or (half and not 1 <= hour <= 12)
        ):
            continue
        base = hour * 60 + int(minute or 0)
        around = _DAYTIME.search(text, match.end(), match.end() + 24)
        if half or (around and hour <= 12):
            evening = half == "p" or (not half and around is not None and around[0] != "morning")
            base = base % 720 + (720 if evening else 0)
            options = {base}
        else:  # 07:35 is the morning's; 2:30 may be either
            options = (
                {base % 1440} if hour > 12 or hour == 0 or match["h"].startswith("0") else {base, (base + 720) % 1440}
            )
        found.append(Clock(frozenset(options), match.span()))
    return sorted(found, key=lambda clock: clock.span)
