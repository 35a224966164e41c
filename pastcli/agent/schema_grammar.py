"""A whole JSON Schema as GBNF rules: nested members, items, enums, references (circles too), and the bounds that a
context-free grammar can keep.

What it cannot keep it leaves wider than the schema and never narrower in a way that would make a valid call impossible
to name: patterns, `multipleOf`, `uniqueItems`, fractional bounds, and counts beyond `LONGEST`. Members stand in the
order of the documentation, the required ones first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..api.schemas import kinds, members, merged, resolve

LONGEST = 256
"""Repetitions written out at most: llama.cpp unrolls them."""

DEEPEST = 12

MOST_VALUES = 5_000
"""Values described in one grammar; those after them are held to JSON and no more."""

_NINES = 16

_FORMATS = {
    "date": r'"\"" [0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9] | "3" [01]) "\""',
    "uuid": r'"\"" [0-9a-f]{8} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{12} "\""',
    "ipv4": r'"\"" [0-9]{1,3} ("." [0-9]{1,3}){3} "\""',
}
_REMARKS = ("description", "title", "default", "examples", "example", "deprecated", "readOnly", "writeOnly")
_SIMPLE = ("boolean", "object", "array")


def arguments_rules(name: str, schema: Mapping[str, Any]) -> list[str]:
    """Rules that define `name` as an object of this schema; other rules they need are called `name` and a number."""
    builder = _Builder(name, schema)
    builder.rules[name] = builder.object(schema, 0)
    builder.define_references()
    return [f"{rule} ::= {body}" for rule, body in builder.rules.items()]


class _Builder:
    def __init__(self, name: str, root: Mapping[str, Any]):
        self.name = name
        self.root = root
        self.rules: dict[str, str] = {}
        self._references: dict[str, str] = {}
        self._undefined: list[tuple[str, Any]] = []
        self._left = MOST_VALUES

    def value(self, schema: Any, depth: int) -> str:
        """An expression for a value; a reference is a rule of its own, so that a circle ends in its name."""
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            return self._value(resolve(schema, self.root), depth)
        said = {key: value for key, value in schema.items() if key not in _REMARKS}
        reference = json.dumps(said, sort_keys=True)
        if reference not in self._references:
            self._references[reference] = self._rule()
            self._undefined.append((self._references[reference], schema))
        return self._references[reference]

    def define_references(self) -> None:
        """The rules that references stand for, one after the other: a chain of them may be longer than Python's stack."""
        while self._undefined:
            rule, schema = self._undefined.pop()
            self.rules[rule] = self._value(resolve(schema, self.root), 0)

    def _rule(self) -> str:
        name = f"{self.name}r{len(self.rules)}"
        self.rules[name] = ""
        return name

    def _value(self, schema: Mapping[str, Any], depth: int) -> str:
        if "const" in schema or schema.get("enum"):
            choices = [schema["const"]] if "const" in schema else schema["enum"]
            return _either([literal(json.dumps(choice, ensure_ascii=False)) for choice in choices])
        self._left -= 1
        if depth > DEEPEST or self._left < 0:
            return "value"
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                branches = [self._laid(schema, branch, key) for branch in schema[key]]
                return _either([self.value(branch, depth + 1) for branch in branches])
        if schema.get("allOf"):
            whole: Mapping[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                whole = merged(whole, resolve(part, self.root), "")
            return self._value(whole, depth + 1)
        spelled = schema.get("type")
        each = spelled if isinstance(spelled, list) else kinds(schema, self.root) or [self._implied(schema)]
        return _either([self._of_kind(kind, schema, depth) for kind in each])

    def _laid(self, schema: Mapping[str, Any], branch: Any, key: str) -> Any:
        """An alternative together with what is said beside it; alone if nothing is, so that a reference stays one."""
        beside = {name: value for name, value in schema.items() if name not in (key, *_REMARKS)}
        return merged(beside, resolve(branch, self.root), "") if beside else branch

    def _implied(self, schema: Mapping[str, Any]) -> str:
        return "object" if "properties" in schema else "array" if "items" in schema else "any"

    def _of_kind(self, kind: str, schema: Mapping[str, Any], depth: int) -> str:
        if kind == "object" and (
            members(schema, self.root)[0] or isinstance(schema.get("additionalProperties"), Mapping)
        ):
            return self.object(schema, depth)
        if kind == "array" and ({"items", "prefixItems", "minItems", "maxItems"} & schema.keys()):
            return self._array(schema, depth)
        if kind == "string":
            return _string(schema)
        if kind in ("integer", "number"):
            return number(schema, whole=kind == "integer")
        return '"null"' if kind == "null" else kind if kind in _SIMPLE else "value"

    def object(self, schema: Mapping[str, Any], depth: int) -> str:
        """Required members in order, then any of the others in order; a map where no member is named."""
        properties, needed = members(schema, self.root)
        if not properties:
            others = schema.get("additionalProperties")
            if not isinstance(others, Mapping):
                return '"{}"'
            pair = f'string ": " {self._grouped(others, depth)}'
            return f'"{{" ({pair} (", " {pair})*)? "}}"'
        pairs = {
            name: f"{literal(json.dumps(name, ensure_ascii=False) + ': ')} {self._grouped(value, depth)}"
            for name, value in properties.items()
        }
        required = [pairs[name] for name in properties if name in needed]
        optional = [pairs[name] for name in properties if name not in needed]
        if required:
            body = ' ", " '.join(required) + "".join(f' (", " {pair})?' for pair in optional)
            return f'"{{" {body} "}}"'
        return f'"{{" {self._tail(optional)} "}}"'

    def _tail(self, optional: Sequence[str]) -> str:
        """Any of these members in order, none as well; each first one begins a rule of its own."""
        rules: list[str] = []
        for first, pair in enumerate(optional):
            rules.append(self._rule())
            self.rules[rules[-1]] = pair + "".join(f' (", " {later})?' for later in optional[first + 1 :])
        return f"({' | '.join(rules)})?" if rules else ""

    def _array(self, schema: Mapping[str, Any], depth: int) -> str:
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        first = [self._grouped(item, depth) for item in schema.get("prefixItems", [])]
        if first:  # a tuple: its places in order, as many as are asked for
            wanted = first[: most if most is not None else len(first)]
            return '"[" ' + ' ", " '.join(wanted) + ' "]"'
        if schema.get("items") is False or most == 0:
            return '"[]"'
        item = self._grouped(schema.get("items", {}), depth)
        least, most = min(least, LONGEST), None if most is None or most > LONGEST else most
        more = f"{{{max(least - 1, 0)},{'' if most is None else most - 1}}}"
        some = f'{item} (", " {item}){more}'
        return f'"[" {some} "]"' if least else f'"[" ({some})? "]"'

    def _grouped(self, schema: Any, depth: int) -> str:
        """A value in a place where an alternative would swallow its neighbours, as a rule if it is long."""
        text = self.value(schema, depth + 1)
        if len(text) > 200:
            rule = self._rule()
            self.rules[rule] = text
            return rule
        return f"({text})" if " " in text else text


def literal(text: str) -> str:
    """A GBNF string."""
    escapes: dict[str, str | int | None] = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + text.translate(str.maketrans(escapes)) + '"'


def _either(choices: Sequence[str]) -> str:
    return " | ".join(dict.fromkeys(choices)) if len(choices) > 1 else choices[0]


def _string(schema: Mapping[str, Any]) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if not least and most is None:
        return "string"
    counts = f"{{{min(least, LONGEST)},{'' if most is None or most > LONGEST else most}}}"
    return f'"\\"" char{counts} "\\""'


def number(schema: Mapping[str, Any], whole: bool) -> str:
    """A number between whole bounds; with a fraction only where no bound is reached."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if whole:
        low, high = _whole_bounds(schema)
        return "integer" if low is None and high is None else _integers(low, high)
    nonnegative = [bound for bound in (low, schema.get("exclusiveMinimum")) if bound is not None and bound >= 0]
    if low is not None and high is not None and low >= 0 and low == int(low) and high == int(high) and low < high:
        inside = _integers(int(low), int(high) - 1)
        return f'({inside}) ("." [0-9]{{1,15}})? | "{int(high)}"'
    return '("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,15})?' if nonnegative else "number"


def _whole_bounds(schema: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The lowest and highest whole number that the bounds allow."""
    lows = [-int(-schema["minimum"] // 1)] if "minimum" in schema else []
    lows += [int(schema["exclusiveMinimum"] // 1) + 1] if "exclusiveMinimum" in schema else []
    highs = [int(schema["maximum"] // 1)] if "maximum" in schema else []
    highs += [-int(-schema["exclusiveMaximum"] // 1) - 1] if "exclusiveMaximum" in schema else []
    return max(lows, default=None), min(highs, default=None)


def _integers(low: int | None, high: int | None) -> str:
    """Whole numbers from `low` to `high`; None is no bound. An empty range is any integer: nothing could be said."""
    if low is not None and high is not None and low > high:
        return "integer"
    parts = []
    if low is None or low < 0:
        nearest = 1 if high is None or high >= 0 else -high
        parts.append(f'"-" ({_magnitudes(nearest, None if low is None else -low)})')
    if high is None or high >= 0:
        parts.append(_magnitudes(max(low or 0, 0), high))
    return " | ".join(parts)


def _magnitudes(low: int, high: int | None) -> str:
    """Numbers without sign, length by length."""
    parts = []
    for size in range(len(str(low)), (_NINES if high is None else len(str(high))) + 1):
        first = max(low, 10 ** (size - 1) if size > 1 else 0)
        if high is None and first == 10 ** (size - 1) and size > 1:
            parts.append(f"[1-9] [0-9]{{{size - 1},{_NINES - 1}}}")
            break
        last = 10**size - 1 if high is None else min(high, 10**size - 1)
        parts.append(_same_length(str(first), str(last)))
    return " | ".join(parts)


def _same_length(first: str, last: str) -> str:
    """Numbers of one length, digit by digit."""
    if len(first) == 1:
        return f"[{first}-{last}]" if first != last else f'"{first}"'
    rest = len(first) - 1
    if first[1:] == "0" * rest and last[1:] == "9" * rest:
        return f"[{first[0]}-{last[0]}] [0-9]{{{rest}}}"
    if first[0] == last[0]:
        return f'"{first[0]}" ({_same_length(first[1:], last[1:])})'
    parts = [f'"{first[0]}" ({_same_length(first[1:], "9" * rest)})']
    if int(last[0]) - int(first[0]) > 1:
        parts.append(f"[{int(first[0]) + 1}-{int(last[0]) - 1}] [0-9]{{{rest}}}")
    parts.append(f'"{last[0]}" ({_same_length("0" * rest, last[1:])})')
    return " | ".join(parts)
