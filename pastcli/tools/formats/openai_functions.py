"""OpenAI function descriptions, in every shape that is about.

    {"type": "function", "function": {"name", "description", "parameters": <JSON schema>}}     current
    {"type": "function", "name", "description", "parameters"}                                  flat (Responses API)
    {"name", "description", "parameters"}                                                      legacy `functions`
    {"name", "description", "input_schema"}                                                    Anthropic's spelling

Alone, in a list, or wrapped in `{"tools": […]}` or `{"functions": […]}`, where the schema may be left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...api import Task, ToolDocument, ToolSpec, ToolWarnings
from .functions import function_spec, named, once

NAME = "OpenAI functions"

CATEGORY = "functions"
"""Stands in for ToolBench's category and tool in the key of a function."""

_SCHEMAS = ("parameters", "input_schema")
_OTHERS = ("inputSchema", "api_list", "question")


def unwrap(document: ToolDocument) -> Iterator[tuple[Any, bool]]:
    """The function entries themselves, whatever list they are wrapped in; and whether they were."""
    for entry in document.entries:
        inner = (entry.get("tools"), entry.get("functions")) if isinstance(entry, dict) and "name" not in entry else ()
        lists = [value for value in inner if isinstance(value, list)]
        yield from ((item, True) for value in lists for item in value)
        if not lists:
            yield entry, False


def accepts(document: ToolDocument) -> bool:
    """True if an entry looks like a function description; broken ones beside it are warned about later."""
    return any(_function(entry, wrapped) is not None for entry, wrapped in unwrap(document))


def read(document: ToolDocument, warnings: ToolWarnings) -> tuple[list[Task], list[ToolSpec]]:
    """No queries of their own; one tool a function."""
    specs = []
    for index, (entry, _) in enumerate(unwrap(document), start=1):
        function = _function(entry, True)
        if function is None:
            warnings.add("T01", f"entry {index}: no function description; left out")
            continue
        schema: Any = next((function[key] for key in _SCHEMAS if key in function), {})
        response = next((function[key] for key in ("returns", "response", "output_schema") if key in function), None)
        specs.append(function_spec(function, schema, CATEGORY, warnings, response))
    return [], once(specs, warnings)


def _function(entry: Any, wrapped: bool) -> dict[str, Any] | None:
    """The dict that holds name and schema; None if this is no function description.

    Outside a list that is called `tools` or `functions` a name alone proves nothing.
    """
    if not isinstance(entry, dict) or any(key in entry for key in _OTHERS):
        return None
    function = entry["function"] if isinstance(entry.get("function"), dict) else entry
    described = function is not entry or entry.get("type") == "function" or any(key in function for key in _SCHEMAS)
    described = described or (wrapped and "description" in function and entry.get("type") in (None, "custom"))
    return function if named(function) and described else None
