"""Is a call allowed by its documentation? Decided in code, with the same words every time.

The `jsonschema` library decides; the words are ours, because a model reads them and because they must not hint at
what the documentation does not require or know: recalling it is the model's task (METHOD 3, tool use).
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..api import ToolSpec
from ..api.schemas import Schema, members, open_ended
from . import types

if TYPE_CHECKING:
    from jsonschema import ValidationError

PATTERN_SECONDS = 0.1
"""A pattern that takes longer on a text cannot be decided, and lets the text pass: no call may hold up the others."""

ALL_PATTERNS_SECONDS = 0.5
"""What the patterns of one call may take together; those that come after it are not tried."""

MOST_FAULTS = 20
"""Named in one answer; a call can have a hundred thousand, and then more of the same helps nobody."""

_ARTICLES = {"integer": "an integer", "array": "an array", "object": "an object", "null": "null"}
_FORMATS = {
    "date": "a date that exists, as YYYY-MM-DD",
    "date-time": "a date and time as in ISO 8601",
    "uuid": "a UUID",
}
_FORMATS |= {"ipv4": "an IPv4 address", "ipv6": "an IPv6 address", "email": "an e-mail address"}
_LIMITS = {
    "minimum": "be at least {}",
    "maximum": "be at most {}",
    "exclusiveMinimum": "be more than {}",
    "exclusiveMaximum": "be less than {}",
    "multipleOf": "be a multiple of {}",
    "minLength": "have at least {} characters",
    "maxLength": "have at most {} characters",
    "minItems": "have at least {} items",
    "maxItems": "have at most {} items",
    "minProperties": "have at least {} fields",
    "maxProperties": "have at most {} fields",
}


def check(spec: ToolSpec, arguments: Any) -> tuple[str, dict[str, Any]]:
    """(error, arguments by exposed name); the error is '' for a valid call.

    Names as shown and as the source spells them are both accepted. Every fault is named, in the order of the
    arguments, then of the documentation. A name the documentation does not know is a fault unless the schema says
    that others are welcome (`additionalProperties`).
    """
    if not isinstance(arguments, dict):
        return f"the input must be a JSON object, not {_a(types.type_of(arguments))}", {}
    faults: dict[str, list[str]] = {}
    given: dict[str, Any] = {}
    known, others_welcome, validator = _compiled(spec)
    for name, value in arguments.items():
        shown = name if name in known else spec.aliases.get(name, name)
        if shown in given:
            faults.setdefault(name, []).append(f"parameter {_quote(shown)} is given twice")
        elif shown in known or others_welcome:
            given[shown] = value
            faults.setdefault(shown, [])
        else:
            faults.setdefault(name, []).append(f"unknown parameter {_quote(name)}")
    try:
        _patience.until = time.monotonic() + ALL_PATTERNS_SECONDS
        for error in islice(validator.iter_errors(given), MOST_FAULTS + 1):
            place = str(error.absolute_path[0]) if error.absolute_path else ""
            faults.setdefault(place, []).extend(_words(error, spec.schema))
    except RecursionError:
        return "the input is nested too deeply", {}
    whole = faults.pop("", [])
    texts = list(dict.fromkeys([*(text for texts in faults.values() for text in texts), *whole]))
    more = ["and more of the kind"] if len(texts) > MOST_FAULTS else []
    return "; ".join(texts[:MOST_FAULTS] + more), given


class _Patience(threading.local):
    until = float("inf")


_patience = _Patience()


@lru_cache(maxsize=32_768)
def _compiled(spec: ToolSpec) -> tuple[frozenset[str], bool, Any]:
    """(names known, whether others are welcome, the validator) of one API; the first two are seen through branches."""
    known = frozenset(members(spec.schema, spec.schema)[0])
    return known, open_ended(spec.schema, spec.schema), validator(spec.schema)


def validator(schema: Any) -> Any:
    """A `jsonschema` validator (2020-12) of a mended schema, safe against patterns and lists made to take for ever."""
    return _validator_class()(schema, format_checker=_format_checker())


@lru_cache(maxsize=1)
def _validator_class() -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    safe = {"pattern": _pattern, "uniqueItems": _unique, "multipleOf": _multiple}
    return extend(Draft202012Validator, safe)


@lru_cache(maxsize=1)
def _format_checker() -> Any:
    """Only the formats that can be decided without doubt; any other is a remark and not a rule."""
    from jsonschema import FormatChecker

    checker = FormatChecker(formats=("date", "uuid", "ipv4", "ipv6", "email"))
    checker.checks("date-time", raises=ValueError)(_is_moment)
    return checker


def _is_moment(text: Any) -> bool:
    return not isinstance(text, str) or bool(datetime.fromisoformat(text))


def _pattern(_: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    import regex
    from jsonschema import ValidationError

    seconds = min(PATTERN_SECONDS, _patience.until - time.monotonic())
    try:
        found = not isinstance(instance, str) or seconds <= 0 or regex.search(pattern, instance, timeout=seconds)
    except TimeoutError:
        found = True
    if not found:
        yield ValidationError("pattern")


def _unique(_: Any, wanted: bool, instance: Any, schema: Any) -> Iterator[ValidationError]:
    from jsonschema import ValidationError

    if wanted and isinstance(instance, list):
        texts = [json.dumps(canonical(item), sort_keys=True) for item in instance]
        if len(set(texts)) < len(texts):
            yield ValidationError("uniqueItems")


def _multiple(_: Any, step: float, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Decimal, because 0.3 is a multiple of 0.1 to everyone but a computer."""
    from decimal import Decimal, InvalidOperation

    from jsonschema import ValidationError

    if isinstance(instance, (int, float)) and not isinstance(instance, bool):
        try:
            fits = Decimal(str(instance)) % Decimal(str(step)) == 0
        except InvalidOperation:  # more digits than a Decimal keeps: nobody's multiple of anything
            fits = False
        if not fits:
            yield ValidationError("multipleOf")


def canonical(value: Any) -> Any:
    """JSON in which equal values are equal texts: 3.0 is 3."""
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _words(error: ValidationError, root: Schema) -> list[str]:
    """The faults one error of the library stands for."""
    path, rule = list(error.absolute_path), error.validator
    wanted: Any = error.validator_value  # set, as the next two are, in every error of `iter_errors`
    value: Any = error.instance
    schema: Any = error.schema
    subject = f"parameter {_quote(_place(path))}" if path else "the input"
    if rule == "required":
        absent = [name for name in wanted if name not in value]
        return [f"missing required parameter {_quote(_place([*path, name]))}" for name in absent]
    if rule in ("additionalProperties", "unevaluatedProperties"):
        return [f"unknown parameter {_quote(_place([*path, name]))}" for name in _strangers(value, schema, root)]
    if rule == "type":
        return [f"{subject} must be {_either(wanted)}, not {_a(types.type_of(value))}"]
    if rule in ("enum", "const"):
        choices = wanted if rule == "enum" else [wanted]
        return [f"{subject} must be one of {json.dumps(choices, ensure_ascii=False)}"]
    if rule in _LIMITS:
        return [f"{subject} must {_LIMITS[rule].format(wanted)}"]
    if rule == "format":
        return [f"{subject} must be {_FORMATS[wanted]}"]
    if rule == "pattern":
        return [f"{subject} must match the pattern {_quote(wanted)}"]
    if rule == "uniqueItems":
        return [f"{subject} must not hold the same item twice"]
    if (
        rule == "anyOf"
        and error.context
        and all(one.validator == "type" and one.path == error.path for one in error.context)
    ):
        wishes: list[Any] = [one.validator_value for one in error.context]
        each = [kind for wish in wishes for kind in ([wish] if isinstance(wish, str) else wish)]
        return [f"{subject} must be {_either(each)}, not {_a(types.type_of(value))}"]
    if rule in ("anyOf", "oneOf"):
        return [f"{subject} fits {'none' if error.context else 'more than one'} of the forms allowed"]
    return [f"{subject} breaks the rule {_quote(str(rule))} of the documentation"]


def _strangers(value: Any, schema: Schema, root: Schema) -> list[str]:
    """Members of an object that its schema, in itself or a branch, neither names nor has a pattern for; where all are
    named by some branch, those that the schema itself does not name: one of them belongs to a branch that does not apply."""
    patterns = schema.get("patternProperties", {})  # the library has just searched with them
    own = schema.get("properties", {})
    beside = [name for name in value if name not in own and not any(re.search(one, name) for one in patterns)]
    named = members(schema, root)[0] if "unevaluatedProperties" in schema else own
    return [name for name in beside if name not in named] or beside


def _place(path: list[Any]) -> str:
    """`filters.price[2]` for a path into the arguments."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text[1:] if text.startswith(".") else text


def _either(kinds: str | list[str]) -> str:
    return " or ".join(dict.fromkeys(_a(kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)))


def _a(kind: str) -> str:
    return _ARTICLES.get(kind, f"a {kind}")


def _quote(name: str) -> str:
    """A name from a model may be of any length; the message must not be."""
    return json.dumps(name if len(name) <= 80 else name[:77] + "...", ensure_ascii=False)
