"""What an argument may be taken from: the query and the observations so far, read for what they say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from . import names
from .dates import Clock, Date, clocks, dates
from .numbers import Number, numbers
from .passing import observed, passes_as
from .text import STOPWORDS, plain, stem, words

MOST = 3000
"""Observed values that are compared by meaning; beyond, only as they stand."""

_SPELLED = re.compile(r"[^\W_]+(?:['’.][^\W_]+)*")


Rivals = dict[str, list[tuple[frozenset[str], frozenset[str]]]]


@dataclass
class Sources:
    """What an argument may be taken from: the query, and what was observed so far.

    Responses are read when the first argument is looked up in them: the last one of an episode, which may hold a million
    values, is so never read in vain.
    """

    query: str
    used: set[str] = field(default_factory=set)
    """The words of the arguments of all calls so far."""
    _unread: list[tuple[Any, Any]] = field(default_factory=list)
    _observed: list[Said] = field(default_factory=list)
    _exact: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    _rivals: Rivals = field(default_factory=dict)

    def observe(self, response: Any, told: Any = None) -> None:
        """Take in a response; `told` are the arguments that it answered."""
        self._unread.append((response, told))

    @property
    def observed(self) -> list[Said]:
        """The first `MOST` values observed."""
        self._read()
        return self._observed

    @property
    def exact(self) -> dict[str, set[tuple[str, ...]]]:
        """Observed values as they stand, plain, and the keys they were found under."""
        self._read()
        return self._exact

    @property
    def rivals(self) -> Rivals:
        """Values of the elements of lists, plain: (words of the element's name, those of its neighbours' names)."""
        self._read()
        return self._rivals

    def _read(self) -> None:
        unread, self._unread = self._unread, []
        for response, told in unread:
            _add_rivals(self._rivals, response, frozenset(words(str(told or ""))))
            for value, path in observed(response):
                self._exact.setdefault(plain(str(value)), set()).add(path)
                if len(self._observed) < MOST:
                    self._observed.append(Said(str(value), path))

    @cached_property
    def asked(self) -> Said:
        return Said(self.query)

    def all(self) -> Iterator[Said]:
        yield self.asked
        yield from self.observed

    def usable(self, name: frozenset[str]) -> Iterator[Said]:
        """The query, and what was observed as something that a parameter of this name can be (`passing`)."""
        yield self.asked
        yield from (source for source in self.observed if passes_as(source.path, name))


_NAMED = ("name", "title", "label", "description")


def _add_rivals(rivals: Rivals, response: Any, told: frozenset[str]) -> None:
    """For the values of each element of a list of objects with names: the words of its name, and those of the others'."""
    pending: list[Any] = [response]
    while pending:
        item = pending.pop()
        pending += item.values() if isinstance(item, dict) else item if isinstance(item, list) else []
        rows = [row for row in item[:200] if isinstance(row, dict)] if isinstance(item, list) else []
        called = [
            frozenset(words(" ".join(value for key, value in row.items() if _tells(key, value))))
            | {str(value) for value in row.values() if _is_year(value)}
            for row in rows
        ]
        everybody = Counter(word for own in called for word in own)
        shared = {word for word, n in everybody.items() if n == len(rows)}  # tells none from another
        for row, own in zip(rows, called, strict=True):
            others = frozenset(w for w, n in everybody.items() if w not in own and n < len(rows)) - told - STOPWORDS
            for value in row.values():
                if isinstance(value, (str, int)) and not isinstance(value, bool) and len(rows) > 1:
                    rivals.setdefault(plain(str(value)), []).append((own - shared, others))


def _tells(key: str, value: Any) -> bool:
    """True for a short text by which an element of a list is told from its neighbours."""
    return isinstance(value, str) and (key in _NAMED or (len(value) <= 40 and not any(map(str.isdigit, value))))


def _is_year(value: Any) -> bool:
    return isinstance(value, int) and 1800 < value < 2200 and not isinstance(value, bool)


@dataclass(frozen=True)
class Said:
    """A text and what it says; `path` are the keys under which it was observed."""

    text: str
    path: tuple[str, ...] = ()

    @cached_property
    def words(self) -> frozenset[str]:
        found = words(self.text)
        return frozenset([*found, *map(stem, found)])

    @cached_property
    def numbers(self) -> list[Number]:
        return numbers(self.text, apart=False)

    @cached_property
    def dates(self) -> list[Date]:
        return dates(self.text)

    @cached_property
    def clocks(self) -> list[Clock]:
        return clocks(self.text)

    @cached_property
    def meanings(self) -> frozenset[str]:
        return names.mentioned([re.sub(r"['’]s$", "", word) for word in _SPELLED.findall(self.text)])
