"""Values for a response that a JSON Schema documents: types, enums, bounds, formats and references are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ...api.schemas import kinds, merged, resolve
from .. import types
from . import values

DEEPEST = 5
"""Levels down to which members that may be left out are filled in."""

MOST_VALUES = 200
"""Values after which only what is required is still filled in: an observation is cut at 1,024 characters anyway."""

LONGEST_LIST = 3


class Repeats(Protocol):
    """What a response may say again of the call that it answers: see `invent.Echo`."""

    def get(self, field: str, kind: str, place: str) -> Any:
        """The argument that a field of this kind repeats; None if it repeats none."""


def from_schema(schema: Mapping[str, Any], seed: str, echo: Repeats) -> Any:
    """A value of the schema. Patterns are not made up, only the documentation's examples of them."""
    return _Filler(schema, seed, echo).value(schema, "", DEEPEST)


class _Filler:
    def __init__(self, root: Mapping[str, Any], seed: str, echo: Repeats):
        self.root = root
        self.seed = seed
        self.echo = echo
        self._inside: list[str] = []
        self._left = MOST_VALUES

    def value(self, schema: Any, path: str, depth: int) -> Any:
        self._left -= 1
        if self._left < -20 * MOST_VALUES:
            return None  # the documentation asks for more than any server would send
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if reference is None:
            return self._value(schema, path, depth)
        self._inside.append(reference)
        try:
            return self._value(schema, path, depth)
        finally:
            self._inside.pop()

    def _value(self, schema: Any, path: str, depth: int) -> Any:
        found = self._narrowed(resolve(schema, self.root), path, 8)
        draw = values.draw_of(self.seed, path)
        if "const" in found:
            return found["const"]
        allowed = found.get("enum")
        kind = next(iter(kinds(found, self.root)), None) or self._implied(found)
        repeated = self._repeated(kind, path, allowed)
        if repeated is not None:
            return repeated
        if allowed:
            return allowed[draw % len(allowed)]
        examples = found.get("examples")
        example = found.get(
            "example", examples[draw % len(examples)] if isinstance(examples, list) and examples else None
        )
        if example is not None and (kind == "any" or types.is_of(example, kind)):
            return example
        return self._of_kind(kind, found, path, draw, depth)

    def _narrowed(self, schema: dict[str, Any], path: str, depth: int) -> dict[str, Any]:
        """The schema with all of its `allOf` and one of its alternatives laid into it."""
        for key in ("anyOf", "oneOf"):
            branches = [resolve(branch, self.root) for branch in schema.get(key, [])] if depth else []
            real = [branch for branch in branches if branch.get("type") != "null"]
            if real:
                schema = merged(schema, real[values.draw_of(self.seed, f"{path}|{key}") % len(real)], key)
                return self._narrowed(schema, path, depth - 1)
        if schema.get("allOf") and depth:
            parts = [resolve(part, self.root) for part in schema["allOf"]]
            schema = {key: value for key, value in schema.items() if key != "allOf"}
            for part in parts:
                schema = merged(schema, part, "")
            return self._narrowed(schema, path, depth - 1)
        return schema

    def _implied(self, schema: Mapping[str, Any]) -> str:
        if "properties" in schema or isinstance(schema.get("additionalProperties"), Mapping):
            return "object"
        return "array" if "items" in schema or "prefixItems" in schema else "any"

    def _repeated(self, kind: str, path: str, allowed: list[Any] | None) -> Any:
        from .invent import field_of

        value = self.echo.get(field_of(path), kind, path) if path and kind not in ("object", "array", "any") else None
        return value if not allowed or value in allowed else None

    def _of_kind(self, kind: str, schema: Mapping[str, Any], path: str, draw: int, depth: int) -> Any:
        from .invent import field_of

        if kind == "object":
            return self._object(schema, path, depth)
        if kind == "array":
            return self._array(schema, path, draw, depth)
        low, high = _bounds(schema, whole=kind == "integer")
        if kind == "integer":
            return _stepped(values.integer(field_of(path), draw, low, high), schema)
        if kind == "number":
            return _stepped(values.number(field_of(path), draw, low, high), schema)
        if kind == "boolean":
            return draw % 4 != 0
        if kind == "null":
            return None
        text = values.text(field_of(path), draw, schema.get("format", ""))
        least, most = schema.get("minLength", 0), schema.get("maxLength", len(text))
        return (text + "-" + text * (least // max(len(text), 1)))[: max(least, 1)] if len(text) < least else text[:most]

    def _object(self, schema: Mapping[str, Any], path: str, depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        names = [name for name in properties if name in required or self._has_room(properties[name], depth)]
        names = names if depth > -DEEPEST else []
        found = {name: self.value(properties[name], f"{path}/{name}", depth - 1) for name in names}
        others = schema.get("additionalProperties")
        if not properties and isinstance(others, Mapping) and depth > 0:
            found = {f"{key}": self.value(others, f"{path}/{key}", depth - 1) for key in ("first", "second")}
        return found

    def _has_room(self, schema: Any, depth: int) -> bool:
        """False for what may be left out where there is much already, and for what holds the thing it is inside of."""
        if depth <= 0 or self._left <= 0:
            return False
        found = resolve(schema, self.root)
        within = [schema, found.get("items"), *found.get("anyOf", ()), *found.get("oneOf", ()), *found.get("allOf", ())]
        return not any(isinstance(part, Mapping) and part.get("$ref") in self._inside for part in within)

    def _array(self, schema: Mapping[str, Any], path: str, draw: int, depth: int) -> list[Any]:
        least, most = schema.get("minItems", 0), schema.get("maxItems", LONGEST_LIST)
        tuples = schema.get("prefixItems", [])
        wanted = max(least, min(most, LONGEST_LIST if not tuples else len(tuples), 1 + draw % LONGEST_LIST))
        wanted = min(least if depth <= 0 or self._left <= 0 else wanted, 1_000) if depth > -DEEPEST else 0
        each = [tuples[n] if n < len(tuples) else schema.get("items", {}) for n in range(max(wanted, len(tuples)))]
        return [self.value(item, f"{path}/{n}", depth - 1) for n, item in enumerate(each)]


def _bounds(schema: Mapping[str, Any], whole: bool) -> tuple[float | None, float | None]:
    """(lowest, highest) value allowed; exclusive bounds are moved in by one, or by a thousandth."""
    step = 1 if whole else 0.001
    lows = [schema[key] + extra for key, extra in (("minimum", 0), ("exclusiveMinimum", step)) if key in schema]
    highs = [schema[key] - extra for key, extra in (("maximum", 0), ("exclusiveMaximum", step)) if key in schema]
    return max(lows, default=None), min(highs, default=None)


def _stepped(value: float, schema: Mapping[str, Any]) -> float:
    step = schema.get("multipleOf")
    if not step:
        return value
    low, high = _bounds(schema, whole=True)
    stepped = round(value / step) * step
    stepped = stepped + step if low is not None and stepped < low else stepped
    return stepped - step if high is not None and stepped > high else stepped
