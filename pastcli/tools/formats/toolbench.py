"""ToolBench queries, as StableToolBench ships them: a list of queries, each with the APIs it may use.

    [{"query": "…", "query_id": 28, "api_list": [{"category_name", "tool_name", "api_name", "api_description", "method",
      "required_parameters": [{"name", "type", "description", "default"}], "optional_parameters": […],
      "template_response"?}], "relevant APIs": [["tool", "api"], …]}]

A row may also carry what ToolBench has no place for: `function_name`, `json_schema` and `response_schema`, whole; and a query a
`reference`, {"calls": [{"api": ["tool", "api"], "arguments": {…}}], "answer": "…"}, a run that is known to solve it
(`past ingest --tools` writes such files). A template is an object whose leaves name types; many APIs have none, some a string cut off at 1,000 characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...api import ExpectedCall, Reference, Task, ToolDocument, ToolSpec, ToolWarnings
from ...api.tools import Key
from . import text_of
from .rapidapi import api_spec

NAME = "ToolBench queries"


def accepts(document: ToolDocument) -> bool:
    """True if an entry is a query with APIs; the files of single tools have an api_list too, but ask nothing."""
    return any(_is_query(entry) for entry in document.entries)


def _is_query(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("api_list"), list):
        return False
    return "query" in entry or any(isinstance(row, dict) and "api_name" in row for row in entry["api_list"])


def read(document: ToolDocument, warnings: ToolWarnings) -> tuple[list[Task], list[ToolSpec]]:
    """One task a query; no tools apart from the queries' own."""
    tasks: list[Task] = []
    used: set[str] = set()
    for index, entry in enumerate(document.entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("api_list"), list):
            warnings.add("T01", f"entry {index}: no object with an api_list; left out")
            continue
        identity = _identity(entry.get("query_id"), index, used, warnings)
        query = text_of(entry, "query", f"query {identity}", warnings)
        if not query.strip():
            warnings.add("T01", f"query {identity}: no text; left out")
            continue
        tools = _tools(entry["api_list"], f"query {identity}", warnings)
        relevant = _relevant(entry, tools, identity, warnings)
        tasks.append(
            Task(identity, query, tuple(tools), relevant, reference=_reference(entry, tools, identity, warnings))
        )
    return tasks, []


def _identity(value: Any, index: int, used: set[str], warnings: ToolWarnings) -> str:
    """The query's id as text; doubled ones get `#2`, `#3`, …"""
    text = str(value) if isinstance(value, (int, str)) and str(value) else f"#{index}"
    if text in used:
        warnings.add("T06", f"query id {text} is used again by entry {index}")
        text = next(f"{text}#{number}" for number in range(2, index + 2) if f"{text}#{number}" not in used)
    used.add(text)
    return text


def _tools(rows: Sequence[Any], where: str, warnings: ToolWarnings) -> list[ToolSpec]:
    specs: dict[Key, ToolSpec] = {}
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("api_name"), str):
            warnings.add("T01", f"{where}: an API without api_name; left out")
            continue
        where = f"API {row['api_name']}"
        tool, category = (text_of(row, key, where, warnings) for key in ("tool_name", "category_name"))
        spec = api_spec(row, category, tool, row["api_name"], "api_description", warnings)
        if spec.key in specs:
            warnings.add("T06", f"{where}: API {spec.tool} / {spec.api} is listed twice")
        specs.setdefault(spec.key, spec)
    return list(specs.values())


def _reference(
    entry: dict[str, Any], tools: Sequence[ToolSpec], identity: str, warnings: ToolWarnings
) -> Reference | None:
    """The known run of a query, if it has one; one that cannot be read is a warning, and there is none."""
    told = entry.get("reference")
    if told is None:
        return None
    try:
        specs = {(spec.tool, spec.api): spec for spec in tools}
        calls = tuple(_call(specs[tuple(call["api"])], call["arguments"]) for call in told["calls"])
        return Reference(calls, str(told["answer"]))
    except (KeyError, TypeError, AttributeError):
        warnings.add("T07", f"query {identity}: its reference names no API of its own, or is none")
        return None


def _call(spec: ToolSpec, arguments: dict[str, Any]) -> ExpectedCall:
    return ExpectedCall(spec.key, {spec.aliases.get(name, name): (value,) for name, value in arguments.items()})


def _relevant(
    entry: dict[str, Any], tools: Sequence[ToolSpec], identity: str, warnings: ToolWarnings
) -> tuple[Key, ...]:
    """The keys of the APIs a good run calls; `relevant APIs` names them by (tool, api)."""
    pairs = entry.get("relevant APIs", [])
    if not isinstance(pairs, list):
        warnings.add("T01", f"query {identity}: relevant APIs is no list; taken as unknown")
        return ()
    keys: dict[Key, None] = {}
    for pair in pairs:
        found = [spec.key for spec in tools if [spec.tool, spec.api] == pair]
        if not found:
            warnings.add("T07", f"query {identity}: {pair!r}")
        keys.update(dict.fromkeys(found[:1]))
    return tuple(keys)
