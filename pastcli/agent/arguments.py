"""Model text to JSON: strictly first, then by a few named repairs, else the exact error. Never raises."""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from typing import Any

MAX_CHARS = 20_000
MAX_DEPTH = 32
"""Far above any real call, far below what recursion in a parser could be made to suffer from."""


class _Refused(ValueError):
    """JSON that Python would read, and we do not: NaN, duplicate keys, excessive depth."""


def parse_arguments(text: str) -> tuple[Any, list[str], str]:
    """(value, repairs, error): `error` is '' when there is a value; `repairs` names what had to be mended.

    Repairs: `empty_input` (nothing is an empty object), `fence` (Markdown code fence), `raw_newline` (a control
    character written raw in a string), `trailing_text` (words after the value), `trailing_comma`, `python_literal` (single quotes, None, True, tuples).
    """
    repairs: list[str] = []
    text = text.strip().strip("\ufeff")
    if text.startswith("```"):
        repairs.append("fence")
        text = re.sub(r"\A[\w-]*", "", text[3:].split("```", 1)[0]).strip()
    if not text:
        return {}, [*repairs, "empty_input"], ""
    if len(text) > MAX_CHARS:
        return None, repairs, f"Action Input is longer than {MAX_CHARS} characters"
    if _depth(text) > MAX_DEPTH:
        return None, repairs, f"Action Input is nested deeper than {MAX_DEPTH}"
    try:
        value, end = _decode(text, repairs)
        rest = text[end:].strip().strip("`")
        if "{" in rest or "[" in rest:
            return None, repairs, "Action Input holds more than one JSON value; write one object"
        if rest:
            repairs.append("trailing_text")
        return _clean(value), repairs, ""
    except (ValueError, RecursionError) as error:
        problem = f"Action Input is not valid JSON: {error}"
        if isinstance(error, _Refused):
            return None, repairs, problem
    for name, repaired in (("trailing_comma", _without_trailing_commas), ("python_literal", _python_literal)):
        try:
            value = repaired(text)
            return _clean(value), [*repairs, name], ""
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return None, repairs, problem


def _decode(text: str, repairs: list[str]) -> tuple[Any, int]:
    """(the first JSON value, where it ends); line breaks and tabs written raw inside its strings are taken as they are."""
    try:
        return _decoder.raw_decode(text)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Invalid control character"):
            raise
        found = _lenient.raw_decode(text)
        repairs.append("raw_newline")
        return found


def _constant(name: str) -> None:
    raise _Refused(f"{name} is no JSON value")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Refused(f"duplicate key {json.dumps(name[:80])}")
        found[name] = value
    return found


_decoder = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_object)
_lenient = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_object, strict=False)


def _without_trailing_commas(text: str) -> Any:
    """Parse after dropping commas before a closing bracket; strings are skipped over."""
    pattern = r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])'
    return _decoder.raw_decode(re.sub(pattern, lambda found: found[1] or "", text))[0]


def _python_literal(text: str) -> Any:
    """A Python literal; `literal_eval` only builds constants, it calls nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd escapes in a model's text are not news
        return ast.literal_eval(text)


def _depth(text: str) -> int:
    """Deepest nesting of brackets; those inside strings count too, which only errs on the safe side."""
    depth = deepest = 0
    for char in text:
        if char in "{[(":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "}])":
            depth -= 1
    return deepest


def _clean(value: Any) -> Any:
    """The value as plain JSON that can be written as UTF-8; raises `ValueError` for what JSON cannot hold."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("keys must be strings")
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    if isinstance(value, str):
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise _Refused("a text holds half of a character")  # nothing can send it, and another text was not written
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is out of range")
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise ValueError(f"{type(value).__name__} is no JSON type")
