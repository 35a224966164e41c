"""The schemas of an OpenAPI document: each definition mended once, and carried only by the tools that need it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from ...api import ToolWarnings
from ...api.schemas import pointer, resolve
from ..dialects import DEEPEST, Mender
from ..schemas import every, leads_nowhere

_BRANCHES = ("allOf", "anyOf", "oneOf", "if", "not", "patternProperties", "dependentRequired", "dependentSchemas")


class Definitions:
    """Schemas of one document, with references rewritten to `#/$defs/NAME`."""

    def __init__(self, root: Mapping[str, Any], warnings: ToolWarnings):
        self.root = root
        self.warnings = warnings
        self._names: dict[str, str] = {}  # a pointer of the document -> its name among the $defs
        self._mended: dict[str, dict[str, Any]] = {}
        self._refers: dict[str, tuple[str, ...]] = {}
        self._needs: dict[str, frozenset[str]] = {}
        self._pending: list[str] = []

    def follow(self, entry: Any) -> Mapping[str, Any]:
        """What is meant by an entry that is no schema (a parameter, a response) and may be a reference; {} if nothing."""
        visited: set[str] = set()
        while isinstance(entry, Mapping) and isinstance(entry.get("$ref"), str):
            if entry["$ref"] in visited:
                return {}
            visited.add(entry["$ref"])
            target = pointer(self.root, entry["$ref"])
            if target is None:
                self.warnings.add("T10", entry["$ref"])
            entry = target
        return entry if isinstance(entry, Mapping) else {}

    def schema(self, schema: Any, where: str) -> dict[str, Any]:
        """One schema of the document, mended; what it refers to is known from now on.

        Definitions are read from a list of what is still to read: a chain of them may be longer than Python's stack.
        """
        self._pending = []
        mended = self._read(schema, where)
        while self._pending:
            reference = self._pending.pop()
            self._mended[self._names[reference]] = self._read(pointer(self.root, reference), reference)
        return mended

    def _read(self, schema: Any, where: str) -> dict[str, Any]:
        mended = Mender(self.root, self.warnings).schema(schema, where, DEEPEST)
        for part in every(mended):
            if "$ref" in part:
                self._rewrite(part, where)
        return mended

    def _rewrite(self, part: dict[str, Any], where: str) -> None:
        reference = part.pop("$ref")
        if not isinstance(pointer(self.root, reference), (Mapping, bool)):
            self.warnings.add("T10", f"{where}: {reference!r}")
            return
        if reference not in self._names:
            self._names[reference] = self._free_name(reference)
            self._pending.append(reference)
        part["$ref"] = f"#/$defs/{self._names[reference]}"

    def _free_name(self, reference: str) -> str:
        last = re.sub(r"~[01]|[^\w.-]", "_", unquote(reference).rsplit("/", 1)[-1]) or "Document"
        taken = set(self._names.values())
        return next(name for n in range(len(taken) + 2) if (name := f"{last}_{n}" if n else last) not in taken)

    def carried_by(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema as a document of its own: with the definitions it needs, directly or through others."""
        direct = dict.fromkeys(_references(schema))
        needed = set(direct).union(*(self._closure(name) for name in direct))
        if not needed:
            return schema
        whole = {**schema, "$defs": {name: one for name, one in self._mended.items() if name in needed}}
        for name in needed:
            if "$ref" in self._mended[name] and leads_nowhere(f"#/$defs/{name}", whole):
                self.warnings.add("T10", f"definition {name}: only refers to itself")
                del self._mended[name]["$ref"]
        return whole

    def _closure(self, name: str) -> frozenset[str]:
        """The definitions that one needs, directly or through others, itself included."""
        if name not in self._needs:
            found, pending = {name}, [name]
            while pending:
                for other in self._direct(pending.pop()):
                    if other not in found:
                        found.add(other)
                        pending.append(other)
            self._needs[name] = frozenset(found)
        return self._needs[name]

    def _direct(self, name: str) -> tuple[str, ...]:
        if name not in self._refers:
            self._refers[name] = tuple(dict.fromkeys(_references(self._mended[name])))
        return self._refers[name]

    def plain_object(self, schema: dict[str, Any]) -> dict[str, Any] | None:
        """The schema with its reference followed, if it is an object of named members and nothing more."""
        found = resolve(schema, {"$defs": self._mended})
        plain = isinstance(found.get("properties"), dict) and not any(key in found for key in _BRANCHES)
        return found if plain and found.get("additionalProperties") in (None, False, {"not": {}}) else None

    def read_only(self, schema: dict[str, Any]) -> bool:
        """True for what only a response holds."""
        return resolve(schema, {"$defs": self._mended}).get("readOnly") is True


def _references(schema: dict[str, Any]) -> Iterator[str]:
    for part in every(schema):
        if "$ref" in part:
            yield part["$ref"].removeprefix("#/$defs/")
