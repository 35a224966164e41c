"""OpenAI function descriptions, in every shape that is about.

    {"type": "function", "function": {"name", "description", "parameters": <JSON schema>}}     current
    {"type": "function", "name", "description", "parameters"}                                  flat (Responses API)
    {"name", "description", "parameters"}                                                      legacy `functions`
    {"name", "description", "input_schema"}                                                    Anthropic's spelling

Alone, in a list, or wrapped in `{"tools": […]}` or `{"functions": […]}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..api import Parameter, Task, ToolSpec
from . import names, types
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
        parameters=_parameters(schema, where, warnings),
    )


def _parameters(schema: Any, where: str, warnings: Warnings) -> tuple[Parameter, ...]:
    root = schema if isinstance(schema, dict) else {}
    resolved = _resolve(root, root)
    properties, required = resolved.get("properties", {}), resolved.get("required", [])
    if schema is None or not isinstance(properties, dict):
        warnings.add("T01", f"{where}: parameters without properties; taken as none")
        properties = {}
    if not isinstance(required, list) or any(name not in properties for name in required if isinstance(name, str)):
        warnings.add("T01", f"{where}: required names what is no parameter: {required!r}")
    wanted = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    return tuple(_parameter(name, value, root, name in wanted, where, warnings) for name, value in properties.items())


def _parameter(
    name: str, value: Any, root: Mapping[str, Any], required: bool, where: str, warnings: Warnings
) -> Parameter:
    where = f"{where}, parameter {name}"
    schema = _resolve(value, root)
    kind = _type(schema)
    if kind is None:
        warnings.add("T02", f"{where}: type {schema.get('type', value if not isinstance(value, dict) else None)!r}")
    choices = [schema["const"]] if "const" in schema else schema.get("enum", [])
    if not isinstance(choices, list) or ("enum" in schema and not choices):
        warnings.add("T03", where)
        choices = []
    default = schema.get("default")
    if default is not None and not types.is_of(default, kind or "any"):
        warnings.add("T08", f"{where}: {default!r} is no {kind}")
        default = None
    description = schema.get("description", "")
    return Parameter(
        name=name,
        type=kind or "any",
        description=description if isinstance(description, str) else "",
        required=required,
        default=default,
        enum=tuple(choices),
        raw_name=name,
    )


def _type(schema: Mapping[str, Any]) -> str | None:
    """The one type a schema allows beside null; 'any' when it allows several or says nothing; None if unknown."""
    spelled = schema.get("type")
    if spelled is None:
        branches = next((schema[key] for key in ("anyOf", "oneOf") if isinstance(schema.get(key), list)), [])
        spelled = [branch.get("type") for branch in branches if isinstance(branch, dict)]
        if not spelled or None in spelled:
            return "any"
    kinds = [types.canonical(item) for item in (spelled if isinstance(spelled, list) else [spelled])]
    if None in kinds:
        return None
    real = sorted({kind for kind in kinds if kind != "null"})
    return real[0] if len(real) == 1 else "any"


def _resolve(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """Follow `$ref` inside the same document; a circular or foreign one ends as an empty schema ('any')."""
    visited: set[str] = set()
    while isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
        reference = schema["$ref"]
        if reference in visited or not reference.startswith("#"):
            return {}
        visited.add(reference)
        target: Any = root
        for part in reference.lstrip("#").strip("/").split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            target = target.get(part) if isinstance(target, dict) and part else target
        schema = target
    return schema if isinstance(schema, dict) else {}
