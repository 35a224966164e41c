"""ToolBench's toolenv: one JSON file a tool, in a folder a category.

    {"tool_name": "…", "tool_description": "…", "api_list": [{"name", "url", "description", "method",
      "required_parameters": […], "optional_parameters": […], "body"?: an example of the response, "schema"?: its schema}]}

The category is the folder's name, which is how StableToolBench's client spells it. The `api.py` that lies beside such
a file is a stranger's program and is never looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...api import Task, ToolDocument, ToolSpec, ToolWarnings
from ..schemas import normalise_value
from . import text_of
from .rapidapi import api_spec

NAME = "ToolBench toolenv"


def accepts(document: ToolDocument) -> bool:
    """True if an entry is a tool with APIs, and none of a query's words stand in it."""
    return any(_is_tool(entry) for entry in document.entries)


def _is_tool(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("api_list"), list) or "query" in entry:
        return False
    rows = [row for row in entry["api_list"] if isinstance(row, dict)]
    return "tool_name" in entry or any("name" in row for row in rows)


def read(document: ToolDocument, warnings: ToolWarnings) -> tuple[list[Task], list[ToolSpec]]:
    """No queries; one tool an API."""
    specs: dict[tuple[str, str, str], ToolSpec] = {}
    for entry in document.entries:
        if not _is_tool(entry):
            warnings.add("T01", f"{document.path.name}: no tool with an api_list; left out")
            continue
        tool = text_of(entry, "tool_name", document.path.name, warnings) or document.path.stem
        category = entry.get("category_name")
        category = category if isinstance(category, str) else document.path.resolve().parent.name
        for row in entry["api_list"]:
            if not isinstance(row, dict) or not isinstance(row.get("name"), str):
                warnings.add("T01", f"tool {tool}: an API without a name; left out")
                continue
            spec = _with_response(api_spec(row, category, tool, row["name"], "description", warnings), row, warnings)
            if spec.key in specs:
                warnings.add("T06", f"API {tool} / {spec.api} is listed twice")
            specs.setdefault(spec.key, spec)
    return [], list(specs.values())


def _with_response(spec: ToolSpec, row: dict[str, Any], warnings: ToolWarnings) -> ToolSpec:
    """What the file says of the response: a template first, then an example of a good answer, then a schema."""
    schema, body = row.get("schema"), row.get("body")
    if isinstance(schema, dict) and ({"type", "properties", "$ref"} & schema.keys()):
        spec = replace(
            spec, response_schema=normalise_value(schema, f"API {spec.tool} / {spec.api}, response", warnings)
        )
    good = row.get("statuscode", 200) in (200, "200") and isinstance(body, (dict, list)) and body
    return replace(spec, response_template=body) if spec.response_template is None and good else spec
