"""JSON types: what the many spellings of tool files mean, and whether a value is of one."""

from __future__ import annotations

import math
from typing import Any

SPELLINGS = {
    "string": "string",
    "str": "string",
    "text": "string",
    "enum": "string",
    "date": "string",
    "time": "string",
    "datetime": "string",
    "date-time": "string",
    "binary": "string",
    "file": "string",
    "char": "string",
    "number": "number",
    "float": "number",
    "double": "number",
    "decimal": "number",
    "numeric": "number",
    "integer": "integer",
    "int": "integer",
    "long": "integer",
    "boolean": "boolean",
    "bool": "boolean",
    "array": "array",
    "list": "array",
    "tuple": "array",
    "object": "object",
    "dict": "object",
    "map": "object",
    "hashtable": "object",
    "json": "object",
    "null": "null",
    "any": "any",
}
"""ToolBench, OpenAI and BFCL spellings, lower case. ToolBench's `DATE (YYYY-MM-DD)` is read without its bracket."""

_PYTHON = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"))


def canonical(spelling: Any) -> str | None:
    """The JSON-schema type a spelling means; None if nobody knows."""
    if not isinstance(spelling, str):
        return None
    return SPELLINGS.get(spelling.split("(")[0].strip().lower())


def type_of(value: Any) -> str:
    """The JSON type of a Python value."""
    return next((name for python, name in _PYTHON if isinstance(value, python)), "null")


def is_of(value: Any, wanted: str) -> bool:
    """True if `value` is of JSON type `wanted`; an integer is a number, and 3.0 is an integer (JSON Schema)."""
    got = type_of(value)
    if wanted == "any" or got == wanted or (wanted, got) == ("number", "integer"):
        return True
    return wanted == "integer" and got == "number" and math.isfinite(value) and value == int(value)


def from_text(text: str, wanted: str) -> Any:
    """A default that the source wrote as text, as a value of its type; None if it cannot be one.

    ToolBench writes every default as a string ("1" for a number).
    """
    try:
        if wanted == "integer":
            return int(text)
        if wanted == "number":
            number = float(text)
            return (int(number) if number.is_integer() else number) if math.isfinite(number) else None
    except ValueError:
        return None
    if wanted == "boolean":
        return {"true": True, "false": False, "1": True, "0": False}.get(text.strip().lower())
    return text if wanted in ("string", "any") else None
