"""OpenAI function descriptions, in every shape that is about.

    {"type": "function", "function": {"name", "description", "parameters": <JSON schema>}}     current
    {"type": "function", "name", "description", "parameters"}                                  flat (Responses API)
    {"name", "description", "parameters"}                                                      legacy `functions`
    {"name", "description", "input_schema"}                                                    Anthropic's spelling

Alone, in a list, or wrapped in `{"tools": […]}` or `{"functions": […]}`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..api import Task, ToolSpec
from . import names
from .schemas import normalise
from .warnings import Warnings

NAME = "OpenAI functions"

CATEGORY = "functions"
"""Stands in for ToolBench's category and tool in the key of a function."""

_LEGAL = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_SCHEMAS = ("parameters", "input_schema")


def unwrap(entries: Sequence[Any]) -> list[Any]:
    """The function entries themselves, whatever list they are wrapped in."""
    found: list[Any] = []
    for entry in entries:
        inner = (entry.get("tools"), entry.get("functions")) if isinstance(entry, dict) and "name" not in entry else ()
        lists = [value for value in inner if isinstance(value, list)]
        found.extend(item for value in lists for item in value) if lists else found.append(entry)
    return found


def accepts(entries: Sequence[Any]) -> bool:
    """True if an entry looks like a function description; broken ones beside it are warned about later."""
    return any(_function(entry) is not None for entry in unwrap(entries))


def read(entries: Sequence[Any], warnings: Warnings) -> tuple[list[Task], list[ToolSpec]]:
    """No queries of their own; one tool a function."""
    specs: dict[names.Key, ToolSpec] = {}
    for index, entry in enumerate(unwrap(entries), start=1):
        function = _function(entry)
        if function is None:
            warnings.add("T01", f"entry {index}: no function description; left out")
            continue
        spec = _tool(function, warnings)
        if spec.key in specs:
            warnings.add("T06", f"function {spec.api} is defined again by entry {index}")
        specs.setdefault(spec.key, spec)
    return [], list(specs.values())


def _function(entry: Any) -> dict[str, Any] | None:
    """The dict that holds name and schema; None if this is no function description."""
    if not isinstance(entry, dict):
        return None
    function = entry["function"] if isinstance(entry.get("function"), dict) else entry
    named = isinstance(function.get("name"), str) and bool(function["name"].strip())
    described = function is not entry or entry.get("type") == "function" or any(key in function for key in _SCHEMAS)
    return function if named and described else None


def _tool(function: dict[str, Any], warnings: Warnings) -> ToolSpec:
    api = function["name"]
    where = f"function {api}"
    name = api if _LEGAL.fullmatch(api) else names.standardize(api)[-names.MAX_NAME :]
    if name != api:
        warnings.add("T09", f"{where}: shown as {name!r}")
    description = function.get("description")
    if not isinstance(description, str):
        warnings.add("T01", f"{where}: description is {'missing' if description is None else 'no text'}")
    schema = next((function[key] for key in _SCHEMAS if key in function), {})
    return ToolSpec(
        name=name,
        category=CATEGORY,
        tool="",
        api=api,
        description=description if isinstance(description, str) else "",
        method="POST",
        schema=normalise(schema, where, warnings),
    )
