"""The dialects that tool schemas are written in, keyword by keyword, as JSON Schema 2020-12."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from ..api import ToolWarnings
from . import types

DEEPEST = 64

ONE: tuple[str, ...] = ("items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems", "contains")
ONE += ("propertyNames", "not", "if", "then", "else")
MANY = ("allOf", "anyOf", "oneOf", "prefixItems")
NAMED = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNTS: tuple[str, ...] = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_COUNTS += ("minContains", "maxContains")
_IDENTITY = ("$schema", "$id", "id", "$comment", "$vocabulary", "$dynamicAnchor", "$recursiveAnchor", "$anchor")


class Mender:
    """Rewrites one document; `root` is the document as it came, where anchors are looked up."""

    def __init__(self, root: Mapping[str, Any], warnings: ToolWarnings):
        self.root = root
        self.warnings = warnings
        self._anchors: dict[str, str] | None = None

    def schema(self, schema: Any, where: str, depth: int) -> dict[str, Any]:
        """One schema, wherever it stands. A boolean is kept by meaning, anything else that is no schema as {}."""
        if isinstance(schema, bool):
            return {} if schema else {"not": {}}
        if not isinstance(schema, Mapping) or depth == 0:
            problem = "no schema" if depth else "nested too deep"
            self.warnings.add("T01", f"{where}: {problem}; any value is accepted")
            return {}
        found = {key: value for key, value in schema.items() if isinstance(key, str) and key not in _IDENTITY}
        for mend in (self._reference, self._old_words, self._type, self._values, self._texts, self._numbers):
            mend(found, where)
        self._inside(found, where, depth)
        return found

    # ---------------------------------------------------------------- keyword by keyword, in place

    def _reference(self, found: dict[str, Any], where: str) -> None:
        """References as pointers into this document; whether they lead anywhere is seen when it is mended."""
        for key in ("$dynamicRef", "$recursiveRef"):
            if key in found:
                found.setdefault("$ref", found.pop(key))
        if "$ref" not in found:
            return
        reference = found["$ref"]
        if isinstance(reference, str) and reference[:1] == "#" and reference[1:2] not in ("", "/"):
            reference = self._anchor(reference[1:])
        if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
            found["$ref"] = unquote(reference)
        else:
            self.warnings.add("T10", f"{where}: {found.pop('$ref')!r}")

    def _anchor(self, name: str) -> str | None:
        if self._anchors is None:
            self._anchors = {}
            _collect_anchors(self.root, "#", self._anchors, DEEPEST)
        return self._anchors.get(name)

    def _old_words(self, found: dict[str, Any], where: str) -> None:
        """Keywords of drafts 4 to 7 in the words of 2020-12."""
        if isinstance(found.get("items"), list):
            found["prefixItems"] = found.pop("items")
            if "additionalItems" in found:
                found["items"] = found.pop("additionalItems")
        for name, value in _mapping(found.pop("dependencies", {})).items():
            kind = "dependentRequired" if isinstance(value, list) else "dependentSchemas"
            found.setdefault(kind, {})[name] = value
        for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if isinstance(found.get(exclusive), bool) and found.pop(exclusive) and bound in found:
                found[exclusive] = found.pop(bound)

    def _type(self, found: dict[str, Any], where: str) -> None:
        nullable = found.pop("nullable", False) is True
        if "type" in found:
            spelled = found.pop("type")
            each = spelled if isinstance(spelled, list) and spelled else [spelled]
            known = [kind for kind in map(types.canonical, each) if kind is not None]
            if len(known) < len(each):
                self.warnings.add("T02", f"{where}: type {spelled!r}")
            elif "any" not in known:
                found["type"] = known[0] if len(known) == 1 else list(dict.fromkeys(known))
        if nullable:
            self._allow_null(found)

    def _allow_null(self, found: dict[str, Any]) -> None:
        if "type" in found:
            listed = found["type"] if isinstance(found["type"], list) else [found["type"]]
            found["type"] = list(dict.fromkeys([*listed, "null"]))
            if isinstance(found.get("enum"), list) and None not in found["enum"]:
                found["enum"] = [*found["enum"], None]
        elif "$ref" in found or "allOf" in found:  # beside a reference OpenAPI 3.0 says so in a wrapper
            whole = dict(found)
            found.clear()
            found["anyOf"] = [whole, {"type": "null"}]

    def _values(self, found: dict[str, Any], where: str) -> None:
        if "enum" in found and (not isinstance(found["enum"], list) or not found["enum"]):
            self.warnings.add("T03", where)
            del found["enum"]
        default, kind = found.get("default"), found.get("type", "any")
        if default is not None and not any(
            types.is_of(default, each) for each in (kind if isinstance(kind, list) else [kind])
        ):
            self.warnings.add("T08", f"{where}: {default!r} is no {kind}")
            del found["default"]
        required = found.get("required")
        if isinstance(required, list):
            found["required"] = [name for name in dict.fromkeys(r for r in required if isinstance(r, str)) if name]
            if len(found["required"]) < len(required) and any(
                name != "" for name in required if not isinstance(name, str)
            ):
                self.warnings.add("T01", f"{where}: required names what is no parameter: {required!r}")
        elif "required" in found:  # a boolean beside the type was draft 3's way; the list of the object says it today
            del found["required"]

    def _texts(self, found: dict[str, Any], where: str) -> None:
        for key in ("description", "title", "format"):
            if key in found and not isinstance(found[key], str):
                del found[key]
        if "pattern" in found and not usable_pattern(found["pattern"]):
            self.warnings.add("T11", f"{where}: {str(found.pop('pattern'))[:60]!r}")

    def _numbers(self, found: dict[str, Any], where: str) -> None:
        for keys, readable in ((_BOUNDS, _number), (_COUNTS, _count)):
            for key in keys:
                if key not in found:
                    continue
                value = readable(found[key])
                if value is None or (key == "multipleOf" and value <= 0):
                    self.warnings.add("T11", f"{where}: {key} {str(found.pop(key))[:60]!r}")
                else:
                    found[key] = value

    def _inside(self, found: dict[str, Any], where: str, depth: int) -> None:
        for key in ONE:
            if key in found and not isinstance(found[key], bool):
                found[key] = self.schema(found[key], f"{where}, {key}", depth - 1)
        for key in MANY:
            if key in found:
                self._list(found, key, where, depth)
        for key in NAMED:
            if key in found:
                self._named(found, key, where, depth)
        dependent = _mapping(found.get("dependentRequired", {}))
        if "dependentRequired" in found:
            found["dependentRequired"] = {name: value for name, value in dependent.items() if isinstance(value, list)}

    def _list(self, found: dict[str, Any], key: str, where: str, depth: int) -> None:
        if isinstance(found[key], list) and found[key]:
            found[key] = [self.schema(item, f"{where}, {key} {n}", depth - 1) for n, item in enumerate(found[key])]
        else:
            self.warnings.add("T01", f"{where}: {key} is no list of schemas; left out")
            del found[key]

    def _named(self, found: dict[str, Any], key: str, where: str, depth: int) -> None:
        if not isinstance(found[key], Mapping):
            self.warnings.add("T01", f"{where}: {key} is no object; left out")
            del found[key]
            return
        words = "parameter" if key == "properties" else key
        patterns = key == "patternProperties"
        kept = {n: value for n, value in found[key].items() if not patterns or (usable_pattern(n) and _is_re(n))}
        if len(kept) < len(found[key]):
            self.warnings.add("T11", f"{where}: a name in patternProperties")
        found[key] = {
            str(name): self.schema(value, f"{where}, {words} {name}", depth - 1) for name, value in kept.items()
        }


def usable_pattern(pattern: Any) -> bool:
    """True for a regular expression that can be compiled here."""
    import regex

    try:
        return isinstance(pattern, str) and regex.compile(pattern) is not None
    except (regex.error, RecursionError, OverflowError, ValueError):
        return False


def _is_re(pattern: str) -> bool:
    """The library matches names with Python's own `re`, which knows less."""
    try:
        return re.compile(pattern) is not None
    except (re.error, RecursionError, OverflowError):
        return False


def _collect_anchors(schema: Any, place: str, found: dict[str, str], depth: int) -> None:
    inside = schema.items() if isinstance(schema, Mapping) else enumerate(schema) if isinstance(schema, list) else ()
    for key, value in inside if depth else ():
        if key in ("$anchor", "$dynamicAnchor") and isinstance(value, str):
            found.setdefault(value, place)
        part = str(key).replace("~", "~0").replace("/", "~1")
        _collect_anchors(value, f"{place}/{part}", found, depth - 1)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | int | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
        value = int(value) if value.is_integer() else value
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None


def _count(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number >= 0 and number == int(number) else None
