"""ToolBench queries, as StableToolBench ships them: a list of queries, each with the APIs it may use.

    [{"query": "…", "query_id": 28, "api_list": [{"category_name", "tool_name", "api_name", "api_description", "method",
      "required_parameters": [{"name", "type", "description", "default"}], "optional_parameters": […],
      "template_response"?}], "relevant APIs": [["tool", "api"], …]}]

A template is an object whose leaves name types; many APIs have none, some a string cut off at 1,000 characters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..api import Parameter, Task, ToolSpec, object_schema
from . import names, types
from .warnings import Warnings

NAME = "ToolBench queries"


def accepts(entries: Sequence[Any]) -> bool:
    """True if an entry looks like a ToolBench query; broken ones beside it are warned about later."""
    return any(isinstance(entry, dict) and isinstance(entry.get("api_list"), list) for entry in entries)


def read(entries: Sequence[Any], warnings: Warnings) -> tuple[list[Task], list[ToolSpec]]:
    """One task a query; no tools apart from the queries' own."""
    tasks: list[Task] = []
    used: set[str] = set()
    for index, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("api_list"), list):
            warnings.add("T01", f"entry {index}: no object with an api_list; left out")
            continue
        identity = _identity(entry.get("query_id"), index, used, warnings)
        query = _text(entry, "query", f"query {identity}", warnings)
        if not query.strip():
            warnings.add("T01", f"query {identity}: no text; left out")
            continue
        tools = _tools(entry["api_list"], f"query {identity}", warnings)
        tasks.append(Task(identity, query, tuple(tools), _relevant(entry, tools, identity, warnings)))
    return tasks, []


def _identity(value: Any, index: int, used: set[str], warnings: Warnings) -> str:
    """The query's id as text; doubled ones get `#2`, `#3`, …"""
    text = str(value) if isinstance(value, (int, str)) and str(value) else f"#{index}"
    if text in used:
        warnings.add("T06", f"query id {text} is used again by entry {index}")
        text = next(f"{text}#{number}" for number in range(2, index + 2) if f"{text}#{number}" not in used)
    used.add(text)
    return text


def _tools(rows: Sequence[Any], where: str, warnings: Warnings) -> list[ToolSpec]:
    specs: dict[names.Key, ToolSpec] = {}
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("api_name"), str):
            warnings.add("T01", f"{where}: an API without api_name; left out")
            continue
        spec = _tool(row, warnings)
        if spec.key in specs:
            warnings.add("T06", f"{where}: API {spec.tool} / {spec.api} is listed twice")
        specs.setdefault(spec.key, spec)
    return list(specs.values())


def _tool(row: dict[str, Any], warnings: Warnings) -> ToolSpec:
    api = row["api_name"]
    tool = _text(row, "tool_name", f"API {api}", warnings)
    where = f"API {tool} / {api}"
    parameters = _parameters(row, where, warnings)
    return ToolSpec(
        name=names.exposed_api(tool, api),
        category=_text(row, "category_name", where, warnings),
        tool=tool,
        api=api,
        description=_text(row, "api_description", where, warnings),
        method=_text(row, "method", where, warnings) or "GET",
        schema=object_schema(*parameters),
        aliases={p.raw_name: p.name for p in parameters if p.raw_name != p.name},
        response_template=_template(row.get("template_response"), where, warnings),
    )


def _parameters(row: dict[str, Any], where: str, warnings: Warnings) -> tuple[Parameter, ...]:
    found: dict[str, Parameter] = {}
    for group, required in (("required_parameters", True), ("optional_parameters", False)):
        entries = row.get(group)
        if not isinstance(entries, list):
            warnings.add("T01", f"{where}: {group} is no list; taken as empty")
            continue
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
                warnings.add("T01", f"{where}: a parameter without a name; left out")
                continue
            parameter = _parameter(entry, required, where, warnings)
            if parameter.name in found:
                warnings.add("T06", f"{where}: parameter {parameter.raw_name} is listed twice")
            found.setdefault(parameter.name, parameter)
    return tuple(found.values())


def _parameter(entry: dict[str, Any], required: bool, where: str, warnings: Warnings) -> Parameter:
    raw, spelling = entry["name"], entry.get("type")
    where = f"{where}, parameter {raw}"
    kind = types.canonical(spelling)
    if kind is None:
        warnings.add("T02", f"{where}: type {spelling!r}")
    if isinstance(spelling, str) and spelling.strip().lower() == "enum":
        warnings.add("T03", where)
    default = entry.get("default")
    if isinstance(default, str) and kind is not None:
        written, default = default, types.from_text(default, kind) if default.strip() else None
        if default is None and written.strip():
            warnings.add("T08", f"{where}: {written[:60]!r} is no {kind}")
    elif default is not None and not types.is_of(default, kind or "any"):
        warnings.add("T08", f"{where}: {default!r} is no {kind}")
        default = None
    # StableToolBench's client tells models that a list or an object is a string; both are taken.
    loose = {"type": [kind, "string"]} if kind in ("array", "object") else {}
    return Parameter(
        name=names.exposed_parameter(raw) or raw,
        type="any" if loose else kind or "any",
        schema=loose,
        description=_text(entry, "description", where, warnings),
        required=required,
        default=default,
        raw_name=raw,
    )


def _relevant(
    entry: dict[str, Any], tools: Sequence[ToolSpec], identity: str, warnings: Warnings
) -> tuple[names.Key, ...]:
    """The keys of the APIs a good run calls; `relevant APIs` names them by (tool, api)."""
    pairs = entry.get("relevant APIs", [])
    if not isinstance(pairs, list):
        warnings.add("T01", f"query {identity}: relevant APIs is no list; taken as unknown")
        return ()
    keys: dict[names.Key, None] = {}
    for pair in pairs:
        found = [spec.key for spec in tools if [spec.tool, spec.api] == pair]
        if not found:
            warnings.add("T07", f"query {identity}: {pair!r}")
        keys.update(dict.fromkeys(found[:1]))
    return tuple(keys)


def _template(value: Any, where: str, warnings: Warnings) -> Any:
    """The response template as data; what is whole of one that came as a string cut off."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        warnings.add("T04", f"{where}: {len(value)} characters of template")
        return whole_part(value)


def whole_part(text: str) -> Any:
    """The JSON value a cut-off text begins, up to its last complete element; None if there is none.

    >>> whole_part('{"a": "str", "b": [{"c": "int", "d": "fl')
    {'a': 'str', 'b': [{'c': 'int'}]}
    """
    closers, inside, escaped, best = "", False, False, (0, "")
    for position, char in enumerate(text):
        if inside:
            inside = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            inside = True
        elif char in "{[":
            closers = "}]"["{[".index(char)] + closers
        elif char in "}]":
            closers = closers[1:]
        elif char == ",":  # what stands before a comma is complete
            best = position, closers
    try:
        return json.loads(text[: best[0]] + best[1]) if best[0] else None
    except (ValueError, RecursionError):
        return None


def _text(row: dict[str, Any], field: str, where: str, warnings: Warnings) -> str:
    value = row.get(field)
    if isinstance(value, str):
        return value
    warnings.add("T01", f"{where}: {field} is {'missing' if value is None else 'no text'}")
    return "" if value is None else str(value)
