"""MCP's answer to `tools/list`: `{"tools": [{"name", "description"?, "inputSchema", "outputSchema"?}], "nextCursor"?}`.

Bare, inside its JSON-RPC envelope, several pages in a list or JSONL, or the list of tools alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...api import Task, ToolDocument, ToolSpec, ToolWarnings
from .functions import function_spec, named, once

NAME = "MCP tools/list"

CATEGORY = "mcp"


def accepts(document: ToolDocument) -> bool:
    """True if an entry is a tool with MCP's own word for its schema."""
    return any(named(tool) and "inputSchema" in tool for tool in _tools(document))


def read(document: ToolDocument, warnings: ToolWarnings) -> tuple[list[Task], list[ToolSpec]]:
    """No queries; one tool each. The last page of a list has no cursor; one that has is not the last."""
    pages = [page for page in map(_page, document.entries) if isinstance(page, dict)]
    if pages and pages[-1].get("nextCursor"):
        warnings.add("T13", f"{document.path.name}: ask for the tools after {str(pages[-1]['nextCursor'])[:40]!r} too")
    specs = []
    for index, tool in enumerate(_tools(document), start=1):
        if named(tool) and "inputSchema" in tool:
            specs.append(tool_spec(tool, warnings))
        else:
            warnings.add("T01", f"entry {index}: no tool with an inputSchema; left out")
    return [], once(specs, warnings)


def tool_spec(tool: dict[str, Any], warnings: ToolWarnings, category: str = CATEGORY) -> ToolSpec:
    """One tool as the protocol describes it; a description is not required there."""
    return function_spec(
        tool, tool.get("inputSchema"), category, warnings, tool.get("outputSchema"), needs_description=False
    )


def _page(entry: Any) -> Any:
    """What is inside a JSON-RPC envelope, if it is one."""
    return entry["result"] if isinstance(entry, dict) and isinstance(entry.get("result"), dict) else entry


def _tools(document: ToolDocument) -> Iterator[Any]:
    for entry in document.entries:
        page = _page(entry)
        if isinstance(page, dict) and isinstance(page.get("tools"), list):
            yield from page["tools"]
        else:
            yield page
