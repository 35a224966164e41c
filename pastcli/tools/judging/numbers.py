"""Numbers in a text, however written: 12,800, 12.8k, "three", minus 7, 45 %, $190, 4 h; and whether two can be the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from .dates import clocks, dates
from .text import plain
from .units import DURATIONS, HUNDREDTHS, NEXT, TEMPERATURES, UNITS, same_dimension, unit_of

MOST_DIGITS = 200
"""Beyond it nobody measures or counts, and what is computed with ends in infinity or an error."""


def amount(value: Any) -> Any:
    """A value as it is; a number of hundreds of digits as its text: a key, or the words of a model that could not stop."""
    return str(value) if isinstance(value, (int, float)) and abs(value) > 10**MOST_DIGITS else value


_SCALES = {
    "k": 1e3,
    "thousand": 1e3,
    "m": 1e6,
    "mn": 1e6,
    "million": 1e6,
    "bn": 1e9,
    "b": 1e9,
    "billion": 1e9,
    "trillion": 1e12,
    "hundred": 1e2,
    "dozen": 12,
}
_DEGREES = re.compile(
    r"\s?(?:°|º|deg(?:rees?)?\s)\s?(?P<scale>c|f|celsius|fahrenheit)\b|\s(?P<word>celsius|fahrenheit)\b"
)
_WORDS = {
    word: n
    for n, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
    )
}
_TENS = {
    word: 10 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_ORDINALS = {
    word: n
    for n, word in enumerate("first second third fourth fifth sixth seventh eighth ninth tenth".split(), start=1)
}
_SPELLED = re.compile(
    rf"\b(?:(?P<tens>{'|'.join(_TENS)})(?:[- ](?P<one>{'|'.join(list(_WORDS)[1:10])}))?|(?P<small>{'|'.join(_WORDS)})|(?P<ordinal>{'|'.join(_ORDINALS)}))(?P<half>\s+and\s+a\s+half)?\b"
)
_MAY_COUNT = re.compile(rf"\d|\b(?:{'|'.join([*_WORDS, *_TENS, *_ORDINALS])}|hal(?:f|ves)|thirds?|quarters?|dozen)\b")
"""Without one of these a text holds no number."""
_FIGURES = re.compile(
    r"(?P<sign>(?:(?<=[\s(=:,$€£])|(?<=^))[-+]|\bminus\s+|\bnegative\s+)?(?:[$€£¥]\s?)?"
    r"(?P<n>(?<![\w.])(?<![a-z]-)(?:\d{1,3}(?:[,' ]\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|\.\d+))"
    r"(?P<suffix>\s?%|\s?percent\b|\s?per cent\b|(?:st|nd|rd|th)\b|\s?(?:k|m|bn|mn|thousand|million|billion|trillion|dozen)\b)?"
)
_PARTS = {"half": 0.5, "third": 1 / 3, "quarter": 0.25}
_PART = re.compile(
    r"\b(?:(?P<n>one|two|three)\s+)?(?P<part>half|halves|thirds?|quarters?)\s+(?:of\s+)?(?:an?|one)\s+(?P<unit>[a-z]+)"
)
_AND_PART = re.compile(
    rf"\b(?P<n>an?|\d{{1,2}}|{'|'.join(_WORDS)})\s+(?P<unit>[a-z]+)\s+and\s+(?:an?\s+|(?P<three>three)\s+)?(?P<part>half|quarters?)\b"
)
_TWO_UNITS = re.compile(
    r"(?<![\w.])(?P<a>\d{1,3}|an?|one|two|three)\s?(?P<u>w(?:eeks?)?|d(?:ays?)?|h(?:rs?|ours?)?|m(?:in(?:ute)?s?)?)\.?,?\s?(?:and\s)?(?P<b>\d{1,2}(?:\.\d+)?)(?:\s?(?P<v>days?|h(?:rs?|ours?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?))?(?![\w.])"
)
_N_AND_A_HALF = re.compile(r"\b(?P<n>\d{1,3}) and a half (?P<unit>[a-z]+)")
_DOZEN = re.compile(r"\b(?:a|one) dozen\b")
_SHARE_OF = re.compile(
    r"\b(?:an?|one|two|three|four) (?:half|halves|thirds?|quarters?|fifths?|tenths?) of\b(?! (?:an?|one)\b)"
)
"""A share of something is no number of things."""
_MANY_UNITS = re.compile(
    rf"(?<![\w.])(?:(?:\d{{1,3}}|an?|{'|'.join(_WORDS)})\s(?:weeks?|days?|hours?|minutes?|seconds?)(?:,?\s(?:and\s)?|\b)){{3,}}"
)
_LAP = re.compile(r"(?<![\d:.])(?P<min>\d{1,2}):(?P<s>[0-5]\d\.\d+)(?![\d:])")
"""The time of a lap: 1:15.484."""
VERSION = re.compile(r"(?<![\w.])v?\d+(?:\.\d+){2,}(?:[-+]?[a-z]\w*)?(?![\w])")
"""3.10.0b1 is no number, nor is 8.8.8.8."""
_UNIT_AFTER = re.compile(r"\s?-?(?:°\s?)?([a-z/]+)")
_LOOSE = re.compile(
    r"\b(about|around|roughly|approximately|approx|nearly|almost|some|over|under|circa|ca|just|close to|(?:more|less|fewer) than|at least|up to)\W*$|[~≈]\s*$"
)
_ENUMERATION = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)


@dataclass(frozen=True)
class Number:
    """A number as said. `step` is the worth of its last digit: 38.4 million has 100,000.

    `kind` is `number`, `percent`, `ordinal` or `word`; `unit` a name of `UNITS` or ''; `loose` whether it was said to be
    approximate, `signed` whether a sign was written; `text` and `span` where it stands.
    """

    value: float
    step: float = 1.0
    kind: str = "number"
    unit: str = ""
    loose: bool = False
    signed: bool = False
    text: str = ""
    span: tuple[int, int] = (0, 0)

    def is_rounding_of(self, exact: float) -> bool:
        """True if `exact`, rounded or cut to the digits said, is this number."""
        gap = abs(self.value - exact)
        slack = 1e-9 * max(1.0, abs(exact))
        if gap <= self.step / 2 + slack or (gap < self.step - slack and abs(exact) > abs(self.value) and self.step < 1):
            return True
        return self.loose and gap <= 0.05 * abs(exact)

    def in_unit(self, unit: str) -> Number | None:
        """The same quantity in another unit of its kind; None if it is of another kind."""
        if self.unit in TEMPERATURES and unit in TEMPERATURES:
            (a, b), (c, d) = TEMPERATURES[self.unit], TEMPERATURES[unit]
            return replace(self, value=(a * self.value + b - d) / c, step=self.step * a / c, unit=unit)
        mine, other = UNITS.get(self.unit), UNITS.get(unit)
        if not mine or not other or mine[0] != other[0]:
            return None
        factor = mine[1] / other[1]
        return replace(self, value=self.value * factor, step=self.step * factor, unit=unit)


@lru_cache(maxsize=4096)
def numbers(text: str, apart: bool = True) -> list[Number]:
    """Every number in a text; figures inside a code (SK-1, tt0211915) are none. With `apart` those inside dates and clock times are left out: they are compared as such."""
    text = _ENUMERATION.sub(lambda found: " " * len(found[0]), plain(text))
    if not _MAY_COUNT.search(text):
        return []
    taken = [*(date.span for date in dates(text)), *(clock.span for clock in clocks(text))] if apart else []
    taken += [match.span() for pattern in (VERSION, _SHARE_OF) for match in pattern.finditer(text)]
    parts = [*_fractions(text), *_composed(text)]
    single = [*_figures(text), *_spelled(text)]
    parts = [p for p in parts if not any(_is_inside(p, other) for other in parts)]
    inside = (n for n in single if not any(n.span[0] >= p.span[0] and n.span[1] <= p.span[1] for p in parts))
    found = [*inside, *parts]
    return sorted(
        (n for n in found if not any(n.span[0] < end and begin < n.span[1] for begin, end in taken)),
        key=lambda n: n.span,
    )


def _is_inside(one: Number, other: Number) -> bool:
    a, b = one.span, other.span
    return a != b and b[0] <= a[0] and a[1] <= b[1]


def _figures(text: str) -> Iterator[Number]:
    for match in _FIGURES.finditer(text):
        digits = re.sub(r"[^\d.]", "", match["n"])
        if len(digits) > MOST_DIGITS:
            continue
        suffix = (match["suffix"] or "").strip()
        scale = _SCALES.get(suffix, 1.0)
        value = float(digits) * scale * (-1 if (match["sign"] or "").strip() in ("-", "minus", "negative") else 1)
        loose = bool(_LOOSE.search(text, max(match.start() - 60, 0), match.start()))
        step = _worth(digits) * scale
        zeros = len(digits) - len(digits.rstrip("0")) if "." not in digits else 0
        if zeros >= 2 and len(digits) - zeros >= 3:  # 388,000 has three figures, and is 387,758 as well
            step *= 10.0**zeros
        kind = (
            "percent"
            if suffix in ("%", "percent", "per cent")
            else "ordinal"
            if suffix in ("st", "nd", "rd", "th")
            else "number"
        )
        unit = _unit_after(text, match.end()) if scale == 1 else ""
        if suffix == "m" and unit == "":  # 12 m may be metres as well as millions
            yield Number(float(digits), _worth(digits), "number", "m", loose, False, match[0].strip(), match.span())
            continue
        yield Number(value, step, kind, unit, loose, bool(match["sign"]), match[0].strip(), match.span())


def _spelled(text: str) -> Iterator[Number]:
    for match in _SPELLED.finditer(text):
        kind = "ordinal" if match["ordinal"] else "word"
        value: float = _TENS.get(match["tens"] or "", 0) + _WORDS.get(match["one"] or match["small"] or "", 0)
        value += _ORDINALS.get(match["ordinal"] or "", 0) + (0.5 if match["half"] else 0)
        signed = text[: match.start()].endswith(("minus ", "negative "))
        scaled = re.match(r"\s(hundred|thousand|million|billion)\b", text[match.end() :])
        scale = _SCALES[scaled[1]] if scaled else 1.0
        unit = _unit_after(text, match.end())
        yield Number(value * scale * (-1 if signed else 1), scale, kind, unit, False, signed, match[0], match.span())


def _fractions(text: str) -> Iterator[Number]:
    """Parts of a unit: half an hour, three quarters of a mile, an hour and a quarter."""
    for match in _AND_PART.finditer(text):
        unit = unit_of(match["unit"])
        if unit:
            whole = _WORDS.get(match["n"]) or (int(match["n"]) if match["n"].isdigit() else 1)
            parts = (3 if match["three"] else 1) * _PARTS[match["part"].removesuffix("s")]
            yield Number(whole + parts, 0.01, "number", unit, text=match[0], span=match.span())
    for match in _N_AND_A_HALF.finditer(text):
        unit = unit_of(match["unit"])
        if unit:
            yield Number(int(match["n"]) + 0.5, 0.1, "number", unit, text=match[0], span=match.span())
    for match in _DOZEN.finditer(text):
        yield Number(12.0, 1.0, "word", "", text=match[0], span=match.span())
    for match in _PART.finditer(text):
        unit = unit_of(match["unit"])
        if unit:
            parts = (
                _WORDS.get(match["n"] or "one", 1) * _PARTS[match["part"].removesuffix("s").replace("halve", "half")]
            )
            yield Number(parts, 0.01, "number", unit, text=match[0], span=match.span())


def _composed(text: str) -> Iterator[Number]:
    """Durations in two units: 2 h 25 min, 5 min 30 s, 3 days and 4 hours."""
    for match in _TWO_UNITS.finditer(text):
        big, small = DURATIONS[match["u"][0]], DURATIONS[(match["v"] or NEXT[match["u"][0]])[0]]
        if (match["v"] or "and" not in match[0]) and UNITS[big][1] > UNITS[small][1]:
            many = int(match["a"]) if match["a"].isdigit() else _WORDS.get(match["a"], 1)
            value = many * UNITS[big][1] / UNITS[small][1] + float(match["b"])
            yield Number(value, _worth(match["b"]), "number", small, text=match[0].strip(), span=match.span())
    for match in _MANY_UNITS.finditer(text):
        total = 0.0
        for many, unit in re.findall(r"(\d+|[a-z]+)\s(weeks?|days?|hours?|minutes?|seconds?)", match[0]):
            total += (int(many) if many.isdigit() else _WORDS.get(many, 1)) * UNITS[unit_of(unit)][1]
        yield Number(total / 60, 1.0, "number", "min", text=match[0].strip(), span=match.span())
    for match in _LAP.finditer(text):
        value = int(match["min"]) * 60 + float(match["s"])
        yield Number(value, _worth(match["s"]), "number", "s", text=match[0], span=match.span())


def _worth(digits: str) -> float:
    """The worth of the last figure."""
    return 10.0 ** -len(digits.partition(".")[2])


def _unit_after(text: str, place: int) -> str:
    degrees = _DEGREES.match(text, place)
    if degrees:
        return "fahrenheit" if (degrees["scale"] or degrees["word"]).startswith("f") else "celsius"
    if HUNDREDTHS.match(text, place + 1) and text[place] == " ":
        return "cent"
    match = _UNIT_AFTER.match(text, place)
    return unit_of(match[1]) if match else ""


def in_any_unit(number: Number, kind: str) -> Iterator[Number]:
    """A quantity of this kind in all its units; nothing for another kind."""
    if kind and number.unit in UNITS and UNITS[number.unit][0] == kind:
        yield from (other for unit in UNITS if (other := number.in_unit(unit)) is not None)


def in_units(text: str) -> list[Number]:
    """The numbers of a text that stand with a unit."""
    return [number for number in numbers(text) if number.unit]


def degrees_of_none(claimed: Number, known: Number) -> bool:
    """True if a claimed temperature is a known number that says no scale, taken as degrees of the other one."""
    if claimed.unit not in TEMPERATURES or known.unit:
        return False
    other = next(name for name in TEMPERATURES if name != claimed.unit)
    converted = replace(known, unit=other).in_unit(claimed.unit)
    return converted is not None and claimed.is_rounding_of(converted.value)


def equal(claimed: Number, known: Number, down: bool = False) -> bool:
    """True if a claimed number is a known one: rounded, as a percentage, in another unit, or its size where the words tell the sign."""
    if claimed.unit and known.unit and claimed.unit != known.unit:
        converted = known.in_unit(claimed.unit)
        if converted is not None:
            return claimed.is_rounding_of(converted.value)
        if same_dimension(claimed.unit, known.unit):
            return False
    if degrees_of_none(claimed, known):
        return True
    exact = known.value
    if (
        claimed.kind == "percent"
        and known.kind != "percent"
        and claimed.is_rounding_of(exact * 100)
        and abs(exact) <= 1
    ):
        return True
    if claimed.is_rounding_of(exact):
        return not (claimed.kind == "percent" and known.kind != "percent" and 0 < abs(exact) < 1)
    return down and exact < 0 < claimed.value and claimed.is_rounding_of(-exact)
