"""Numbered warnings about broken fields of a tools file: one bad field must not cost the other thousand APIs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..errors import UsageError

KINDS = {
    "T01": "a field is missing or of the wrong type",
    "T02": "a parameter type nobody knows; any value is accepted",
    "T03": "an enumeration without values; any value of its type is accepted",
    "T04": "a response template that is cut off or unreadable; its whole part is used",
    "T05": "two APIs get the same name; a hash tells them apart",
    "T06": "something is defined twice; the first one counts",
    "T07": "a relevant API that is not in the query's list",
    "T08": "a default that is not of the parameter's type",
    "T09": "a name that is no legal function name; it is rewritten",
    "T10": "a reference that leads nowhere, into another file or in a circle; any value is accepted there",
    "T11": "a bound or pattern that cannot be used; it is left out",
    "T12": "a file or an operation of no known tools format; left out",
    "T13": "an incomplete list: the server had more to give (nextCursor)",
}


@dataclass
class Warnings:
    """Collects (kind, text) pairs, each once, in order. With `strict` the first one raises `UsageError` instead."""

    strict: bool = False
    items: list[tuple[str, str]] = field(default_factory=list)
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def add(self, kind: str, text: str) -> None:
        if self.strict:
            raise UsageError(f"{kind} {text}", f"{KINDS[kind]}; leave out --strict-tools to go on with a warning")
        if (kind, text) not in self._seen:
            self._seen.add((kind, text))
            self.items.append((kind, text))

    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(kind for kind, _ in self.items).items()))

    def lines(self) -> list[str]:
        """One line a kind: how many, and the first as an example."""
        first: dict[str, str] = {}
        for kind, text in self.items:
            first.setdefault(kind, text)
        return [f"{kind} ×{count}: {KINDS[kind]} (first: {first[kind]})" for kind, count in self.counts().items()]
