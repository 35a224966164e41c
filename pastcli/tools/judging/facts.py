"""What the counted observations say, value by value, in the form answers are compared with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .fact import Fact, Place
from .names import meanings
from .numbers import amount
from .requests import Request, request
from .sources import Said
from .tables import Table, tables
from .text import plain, stem, stems, words
from .units import HUNDREDTHS

MOST = 4000
"""Values looked at in one response; beyond, an answer can hardly be about them."""

_META = frozenset(
    "status code message msg success ok found error errors page pages total limit offset count version timestamp".split()
)


@dataclass
class Facts:
    """Everything observed by calls that count: add it all, then read.

    `asked` is the query; `lengths` are the lengths of lists, with their API.
    """

    asked: Said
    facts: list[Fact] = field(default_factory=list)
    lengths: list[tuple[int, int]] = field(default_factory=list)
    responses: list[tuple[int, Any]] = field(default_factory=list)
    given: set[tuple[tuple[str, ...], str]] = field(default_factory=set)
    """What the calls said themselves, up to the last response."""
    repeated: set[Fact] = field(default_factory=set)
    """What a tool says that was told to it before: it tells nothing."""
    elements: dict[Place, list[Fact]] = field(default_factory=dict)
    """The values in each element of a list, at whatever depth."""

    nulls: list[Place] = field(default_factory=list)
    """Where there was nothing: `delivered_at` of what was not delivered."""
    names: list[str] = field(default_factory=list)
    """What the API of each response is called."""
    tools: set[str] = field(default_factory=set)
    """What the tools are called whose APIs answered."""
    arguments: list[dict[str, Any]] = field(default_factory=list)
    """What each response was an answer to."""
    given_to: dict[int, set[str]] = field(default_factory=dict)
    """The words of the arguments that each API was called with."""

    def add(self, response: Any, api: int, arguments: Any = None, name: str = "", tool: str = "") -> None:
        self.names.append(name)
        self.tools |= {tool} - {""}
        self.arguments.append(arguments if isinstance(arguments, dict) else {})
        self.responses.append((api, response))
        if isinstance(arguments, dict):
            said = self.given_to.setdefault(api, set())
            said |= {word for value in arguments.values() for word in words(str(value))}
            self.given |= {(tuple(map(stem, words(name))), plain(str(value))) for name, value in arguments.items()}
        leaves = list(_walk(response, (), self.lengths, api))
        measures = {place[:-1]: str(value) for place, value in leaves if place and place[-1] in ("unit", "units")}
        self.nulls += [(len(self.responses), *place) for place, value in leaves if value is None]
        for place, value in leaves:
            if value is None:
                continue
            name = next((str(part) for part in reversed(place) if isinstance(part, str)), "")
            record = place[:-1] if place and isinstance(place[-1], str) else place
            key = tuple(map(stem, words(name)))
            fact = Fact(value, key, name, (len(self.responses), *record), api, measures.get(record, ""))
            self.facts.append(fact)
            if (key, plain(fact.text)) in self.given:
                self.repeated.add(fact)
            inner = [n for n, part in enumerate(place[:-1], 1) if isinstance(part, int)]
            if inner:
                self.elements.setdefault((len(self.responses), *place[: inner[-1]]), []).append(fact)

    @cached_property
    def known_words(self) -> frozenset[str]:
        """Every word of a value, a field's name or the query, and its stem."""
        found = set(self.asked.words)
        for name in self.names:
            found.update(words(name), stems(name))
        for fact in self.facts:
            said = words(fact.text)
            around = [word for part in fact.record[1:] if isinstance(part, str) for word in words(part)]
            found.update(said, map(stem, said), fact.key, words(fact.name), around, map(stem, around))
        return frozenset(found)

    @cached_property
    def meanings(self) -> frozenset[str]:
        """What the query and the observed texts name: countries, languages, currencies."""
        return self.asked.meanings.union(*(meanings(f.text) for f in self.facts if isinstance(f.value, str)))

    @cached_property
    def initials(self) -> frozenset[str]:
        """What the query's words are short for, three and four at a time: a click-through rate is a CTR."""
        said = words(self.asked.text)
        return frozenset(
            "".join(w[0] for w in said[n : n + size]) for size in (3, 4) for n in range(len(said) - size + 1)
        )

    @cached_property
    def named_numbers(self) -> frozenset[float]:
        """Numbers in the names of fields: `new_snow_24h_cm`."""
        return frozenset(float(n) for fact in self.facts for n in re.findall(r"\d+", fact.name) if len(n) < 6)

    @cached_property
    def asks_for_hundredths(self) -> bool:
        """True if the query wants an amount in cents, pence, øre."""
        return bool(HUNDREDTHS.search(plain(self.asked.text)))

    @property
    def request(self) -> Request | None:
        """What the query asks for outright, where it also names the call."""
        return request(self.asked.text, tuple(sorted({*self.names, *self.tools} - {""})))

    @cached_property
    def observed_words(self) -> frozenset[str]:
        """Every word of a value that was observed."""
        return frozenset(word for fact in self.facts for word in words(fact.text))

    @cached_property
    def novel(self) -> list[Fact]:
        """The values that the query did not give away, and that are more than an envelope's (status 200, page 1)."""
        return [
            fact
            for fact in self.facts
            if not self.echoes(fact)
            and (len(fact.key) != 1 or not is_envelope(fact.key[0], fact.value) or self._is_asked_for(fact))
        ]

    def _is_asked_for(self, fact: Fact) -> bool:
        """True if the query wants what stands under this name ("the status of the order"), and no object inside has it too."""
        same = [other for other in self.of(fact.api) if other.key == fact.key]
        return fact.key[0] in self.asked.words and len(fact.record) == max(len(other.record) for other in same)

    @cached_property
    def records(self) -> dict[Place, list[Fact]]:
        """The elements of lists of objects that have a name: their fields, by place."""
        found = self.elements
        named = {
            place
            for place, fields in found.items()
            if any(isinstance(f.value, str) and f.phrase.strip() for f in fields)
        }
        return {place: fields for place, fields in found.items() if place in named and len(fields) > 1}

    @cached_property
    def tables(self) -> list[Table]:
        """What was observed of several things beside one another."""
        return tables(self.facts, self.elements, self.names, self.arguments, self.asked)

    def echoes(self, fact: Fact) -> bool:
        """True if the query already said this value, or a call did under this name."""
        if fact in self.repeated:
            return True
        if isinstance(fact.value, bool):
            return False
        if isinstance(fact.value, (int, float)):
            return any(abs(n.value - fact.value) < 1e-9 for n in self.asked.numbers)
        if fact.dates and not any(date.agrees(asked) for date in fact.dates for asked in self.asked.dates):
            return False
        return all(word in self.asked.words for word in words(fact.text))

    def of(self, api: int) -> list[Fact]:
        return [fact for fact in self.facts if fact.api == api]

    def empty(self, api: int) -> bool:
        """True if an API answered, and had nothing: empty lists and objects, nulls, a count of 0."""
        answers = [response for place, response in self.responses if place == api]
        return bool(answers) and all(is_empty(response, self) for response in answers)


META_STEMS = frozenset(map(stem, _META))
_SPEAKING = {stem(word) for word in ("message", "msg", "status")}
_POLITE = frozenset(
    map(
        stem,
        """ok okay success successful successfully succeeded done request requests complete completed processed returned fetched retrieved
        result results record records item items entry entries data list match matches matching no not none nothing found empty available query""".split(),
    )
)


def is_envelope(key: str, value: Any) -> bool:
    """True for what surrounds an answer rather than being one: a status, a count, a message that says no more than "done" or
    "nothing found". `key` is the stem of a field's name."""
    if key not in META_STEMS or isinstance(value, (dict, list)):
        return False
    return key not in _SPEAKING or not isinstance(value, str) or set(stems(value)) <= _POLITE


def is_empty(response: Any, facts: Facts | None = None) -> bool:
    """True if a response holds nothing but empty containers, nulls, zero counts, an envelope and, with `facts`, what the query
    said itself. A status that the query asks for is no envelope, unless it stands beside the object that it is asked of."""
    if isinstance(response, dict):
        asked = frozenset[str]() if facts is None or _holds_objects(response) else facts.asked.words
        return all(
            is_empty(value, facts) or (is_envelope(key, value) and key not in asked)
            for key, value in ((stem(plain(str(name))), value) for name, value in response.items())
        )
    if isinstance(response, list):
        return all(is_empty(item, facts) for item in response)
    if isinstance(response, bool):
        return False
    if response in (None, "", 0):
        return True
    return facts is not None and all(word in facts.asked.words for word in words(str(response)))


def _holds_objects(response: dict[str, Any]) -> bool:
    return any(isinstance(value, (dict, list)) and value for value in response.values())


def _walk(value: Any, place: Place, lengths: list[tuple[int, int]], api: int) -> Iterator[tuple[Place, Any]]:
    """(place, value) of every leaf, depth first, at most `MOST`, nulls among them; list lengths on the way."""
    pending: list[tuple[Place, Any]] = [(place, value)]
    count = 0
    while pending and count < MOST:
        here, item = pending.pop()
        if isinstance(item, dict):
            pending.extend(((*here, key), inner) for key, inner in reversed(item.items()))
        elif isinstance(item, list):
            lengths.append((len(item), api))
            pending.extend(((*here, index), inner) for index, inner in reversed(list(enumerate(item))))
        elif item != "":
            count += 1
            yield here, amount(item)


def keyed(facts: Sequence[Fact]) -> dict[tuple[str, ...], list[Fact]]:
    """Facts by the name of their field."""
    found: dict[tuple[str, ...], list[Fact]] = {}
    for fact in facts:
        found.setdefault(fact.key, []).append(fact)
    return found
