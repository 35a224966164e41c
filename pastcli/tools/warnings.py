"""Numbered warnings about broken fields of a tools file: one bad field must not cost the other thousand APIs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from ..api import ToolWarnings
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
    "T14": "a conversation of several turns; only the first is asked",
    "T15": "a live server's tool that is none by the protocol; left out",
    "T16": "a live server writes to its stdout what is no message of the protocol; passed over",
}


@dataclass
class Warnings:
    """Collects (kind, text) pairs, each once, in order. With `strict` the first one raises `UsageError` instead."""

    strict: bool = False
    items: list[tuple[str, str]] = field(default_factory=list)
    _seen: dict[tuple[str, str], str] = field(default_factory=dict, compare=False)
    """What was added, with the category of the API that it is about ('' where it is about none)."""

    def add(self, kind: str, text: str, category: str = "") -> None:
        if self.strict:
            raise UsageError(f"{kind} {text}", f"{KINDS[kind]}; leave out --strict-tools to go on with a warning")
        if (kind, text) not in self._seen:
            self._seen[kind, text] = category
            self.items.append((kind, text))

    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(kind for kind, _ in self.items).items()))

    def lines(self, categories: Collection[str] | None = None) -> list[str]:
        """One line a kind: how many, and the first as an example; of APIs of these `categories` (None: of all) and of what
        belongs to no API."""
        wanted = [
            (kind, text)
            for kind, text in self.items
            if categories is None or self._seen[kind, text] in ("", *categories)
        ]
        first: dict[str, str] = {}
        for kind, text in wanted:
            first.setdefault(kind, text)
        counts = Counter(kind for kind, _ in wanted)
        return [f"{kind} ×{counts[kind]}: {KINDS[kind]} (first: {first[kind]})" for kind in sorted(counts)]


@dataclass(frozen=True)
class OfCategory:
    """Warnings that are about the APIs of one category."""

    warnings: ToolWarnings
    category: str

    def add(self, kind: str, text: str, category: str = "") -> None:
        self.warnings.add(kind, text, category or self.category)
