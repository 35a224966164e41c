"""One value that was observed, in every form in which an answer can repeat it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .dates import Clock, Date, clocks, dates
from .numbers import Number, numbers
from .text import content, phrase, plain, stem, words
from .units import unit_of, unit_of_key

Place = tuple[str | int, ...]
"""Where a value or a record lies: the number of the response, then keys and indices."""
_HOURS = re.compile(r"(\d{1,2})\s?[-–]\s?(\d{1,2})")
"""Opening hours in short: 10-14."""
LASTING = frozenset(map(stem, "length duration runtime elapsed lasts".split()))
"""Words of fields that say how long something takes."""


@dataclass(frozen=True)
class Fact:
    """One value inside a response.

    `key` are the stems of its field's name, `record` the place of the list element or object that holds it, `api` which
    of the relevant APIs said it (-1: another one), `measured` the unit that a field beside it says ("unit": "km/h").
    """

    value: Any
    key: tuple[str, ...]
    name: str
    record: Place
    api: int
    measured: str = ""

    @cached_property
    def unit(self) -> str:
        return unit_of_key(words(self.name)) or unit_of(plain(self.measured))

    @cached_property
    def text(self) -> str:
        return str(self.value)

    @cached_property
    def phrase(self) -> str:
        return phrase(self.text)

    @cached_property
    def content(self) -> list[str]:
        return content(self.text)

    @cached_property
    def numbers(self) -> list[Number]:
        """The value as numbers, or those written in its text."""
        if isinstance(self.value, bool):
            return []
        if isinstance(self.value, (int, float)):
            return [Number(float(self.value), unit=self.unit)]
        if self.clocks and set(self.key) & LASTING:  # a length of 18:24 is no time of day
            return [Number(float(min(clock.minutes)), unit="min") for clock in self.clocks]
        return [n if n.unit else Number(n.value, n.step, n.kind, self.unit, span=n.span) for n in numbers(self.text)]

    @cached_property
    def dates(self) -> list[Date]:
        return dates(self.text) if isinstance(self.value, str) else []

    @cached_property
    def clocks(self) -> list[Clock]:
        hours = _HOURS.fullmatch(self.text) if isinstance(self.value, str) else None
        if hours and any(stem(word) == "hour" for part in self.record if isinstance(part, str) for word in words(part)):
            return [Clock(frozenset({60 * int(hour) % 1440})) for hour in hours.groups()]
        return clocks(self.text) if isinstance(self.value, str) else []
