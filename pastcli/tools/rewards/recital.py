"""Does an answer read out what a tool said: value after value in the tool's order, with nothing between but their fields' names?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..judging.text import STOPWORDS, words

MOST = 400
"""Words of an answer, and values of a response, that are looked at."""

Said = Sequence[str]


def longest_run(answer: str, response: Any) -> list[str]:
    """The names of the fields in the longest such run, each once: of "The id is 7. Stars: 4, Brno." `id`, `stars`, `city`."""
    said = _words(answer)[:MOST]
    held = [(name, _words(name), _words(str(value))) for name, value in _leaves(response)]
    held = [one for one in held if one[2]][:MOST]
    starts: dict[str, list[int]] = {}
    for place, (_, _, value) in enumerate(held):
        starts.setdefault(value[0], []).append(place)
    best: list[str] = []
    for begin, word in enumerate(said):
        for first in starts.get(word, ()):
            run = list(dict.fromkeys(_run(said, begin, held[first:])))
            best = max(best, run, key=len)
    return best


def _run(said: Said, place: int, held: Sequence[tuple[str, Said, Said]]) -> Iterator[str]:
    """The names of the fields whose values stand one after the other from a place on."""
    for name, called, value in held:
        if called and said[place : place + len(called)] == called and said[place : place + len(value)] != value:
            place += len(called)
        if said[place : place + len(value)] != value:
            return
        place += len(value)
        yield name


def _words(text: str) -> list[str]:
    return [word for word in words(text) if word not in STOPWORDS]


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of every value, in the order of the response."""
    pending = [(name, value)]
    while pending:
        called, item = pending.pop()
        if isinstance(item, dict):
            pending += [(str(key), inner) for key, inner in reversed(item.items())]
        elif isinstance(item, list):
            pending += [(called, inner) for inner in reversed(item)]
        elif item not in (None, ""):
            yield called, item
