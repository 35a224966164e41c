"""Schemas as tools files write them, mended into one dialect: JSON Schema 2020-12 whose references stay inside.

What about is old JSON Schema (tuples as `items`, `dependencies`), OpenAPI 3.0 (`nullable`, boolean exclusive bounds),
the types of Python and of BFCL (`dict`, `float`, `tuple`, `any`), and plain mistakes. What can be read is rewritten,
what cannot is dropped with a numbered warning: a keyword that stays can be relied on by everything downstream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..api import ToolWarnings
from ..api.schemas import kinds, members, pointer, resolve
from .dialects import DEEPEST, MANY, NAMED, ONE, Mender


def normalise(schema: Any, where: str, warnings: ToolWarnings) -> dict[str, Any]:
    """The schema of one call's arguments, mended; always that of an object."""
    nothing = {"type": "object", "properties": {}}
    if schema in (None, {}, True):
        return nothing
    if not isinstance(schema, Mapping):
        warnings.add("T01", f"{where}: parameters without properties; taken as none")
        return nothing
    mended = normalise_value(schema, where, warnings)
    if kinds(mended, mended) not in ([], ["object"]):
        warnings.add("T01", f"{where}: parameters of type {mended.get('type')!r}; taken as none")
        return nothing
    if "$ref" in mended:  # the members of the root must be seen without following anything
        mended = resolve(mended, mended)
    mended = nothing | mended | {"type": "object"}
    known = members(mended, mended)[0]
    if any(name not in known for name in mended.get("required", [])):
        warnings.add("T01", f"{where}: required names what is no parameter: {mended['required']!r}")
        mended["required"] = [name for name in mended["required"] if name in known]
    return mended


def normalise_value(schema: Any, where: str, warnings: ToolWarnings) -> dict[str, Any]:
    """The schema of any value (a response), mended."""
    if not isinstance(schema, Mapping):
        return {}
    mended = Mender(schema, warnings).schema(schema, where, DEEPEST)
    for part in every(mended):
        if "$ref" in part and leads_nowhere(part["$ref"], mended):
            warnings.add("T10", f"{where}: {part.pop('$ref')!r}")
    return mended


def every(schema: Any) -> Iterator[dict[str, Any]]:
    """A mended schema and every schema inside it, along the keywords that hold schemas."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ONE:
        yield from every(schema.get(key))
    for key in MANY:
        for item in schema.get(key, ()):
            yield from every(item)
    for key in NAMED:
        for item in schema.get(key, {}).values():
            yield from every(item)


def leads_nowhere(reference: str, root: Mapping[str, Any]) -> bool:
    """True for a pointer to what is no (mended) schema, and for one that only leads to other references, in a circle."""
    visited: set[str] = set()
    while reference != "#":
        if reference in visited or reference.split("/")[1:2] not in [[key] for key in (*ONE, *MANY, *NAMED)]:
            return True
        visited.add(reference)
        target = pointer(root, reference)
        if not isinstance(target, (Mapping, bool)):
            return True
        if isinstance(target, bool) or "$ref" not in target:
            return False
        reference = target["$ref"]
    return "$ref" in root
