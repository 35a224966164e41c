"""The folder of documentation that StableToolBench's client opens: `CATEGORY/TOOL.json`, a file a tool."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ... import files
from ...api import Parameter, ToolSpec
from .directory import spelled_category, spelled_tool

LONGEST = 200
"""Bytes of a file's or a folder's name; most file systems take 255."""

_TYPES = {"number": "NUMBER", "integer": "NUMBER", "boolean": "BOOLEAN", "array": "ARRAY", "object": "OBJECT"}


def write_tree(specs: Iterable[ToolSpec], folder: Path) -> int:
    """Write the tree into an empty folder; how many files. What the client reads unguarded is always there, as text."""
    documents: dict[Path, dict[str, Any]] = {}
    for spec in specs:
        tool = spec.tool or spec.category
        path = folder / _folder(spec.category) / f"{_cut(spelled_tool(tool)) or 'tool'}.json"
        document = documents.setdefault(
            path, {"tool_name": tool, "tool_description": "", "title": tool, "api_list": []}
        )
        document["api_list"].append(_api(spec))
    for path, document in documents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, document)
    return len(documents)


def publish_tree(specs: Iterable[ToolSpec], folder: Path) -> int:
    """Write the tree beside `folder` and put it there when it is whole, in place of what was; how many files."""
    files.writable(folder.parent)
    temporary, old = (folder.parent / f".{folder.name}.{secrets.token_hex(4)}.{end}" for end in ("partial", "old"))
    try:
        temporary.mkdir()
        written = write_tree(specs, temporary)
        files.sync_tree(temporary)
        if folder.exists():
            os.rename(folder, old)
        os.rename(temporary, folder)
        return written
    finally:
        files.remove(temporary)
        if old.exists() and not folder.exists():
            os.rename(old, folder)
        files.remove(old)


def is_tree(folder: Path) -> bool:
    """True for a folder in which there is nothing but `CATEGORY/TOOL.json`: what may be replaced by another such one."""
    return folder.is_dir() and all(
        category.is_dir() and all(tool.suffix == ".json" and not tool.is_dir() for tool in category.iterdir())
        for category in folder.iterdir()
    )


def _folder(category: str) -> str:
    """The client opens the folder as a query spells it, so that is its name wherever a file system allows it."""
    plain = category if "/" not in category and "\0" not in category else spelled_category(category).replace("\0", "")
    return _cut(plain) if plain.strip(". ") else "tools"


def _cut(name: str) -> str:
    """As much of a name as a file system takes."""
    return name.encode("utf-8", "replace")[:LONGEST].decode("utf-8", "ignore")


def _api(spec: ToolSpec) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": spec.api,
        "url": "",
        "description": spec.description,
        "method": spec.method or "GET",
        "required_parameters": [_parameter(p) for p in spec.parameters if p.required],
        "optional_parameters": [_parameter(p) for p in spec.parameters if not p.required],
    }
    if spec.response_template is not None:
        row["template_response"] = spec.response_template
    if spec.response_schema:
        row["schema"] = spec.response_schema
    return row


def _parameter(parameter: Parameter) -> dict[str, Any]:
    kind = "DATE (YYYY-MM-DD)" if parameter.schema.get("format") == "date" else _TYPES.get(parameter.type, "STRING")
    loose = parameter.schema.get("type")
    if isinstance(loose, list) and loose[0] in _TYPES:
        kind = _TYPES[loose[0]]
    return {
        "name": parameter.raw_name or parameter.name,
        "type": kind,
        "description": parameter.description,
        "default": "" if parameter.default is None else parameter.default,
    }
