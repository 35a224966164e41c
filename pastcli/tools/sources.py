"""Tools files from disk: JSON, JSONL and YAML, one or a folder of them. Nothing in them is ever run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..api import ToolDocument
from ..errors import UsageError, reason
from ..regular import regular
from .warnings import Warnings

SUFFIXES = (".json", ".jsonl", ".yaml", ".yml")

MOST_NODES = 5_000_000
"""Of a YAML file with its aliases written out: a few lines can stand for more than any memory holds."""


def read(path: Path) -> ToolDocument:
    """One file, parsed. Raises `UsageError` if it is missing, empty or no JSON, JSONL or YAML."""
    try:
        text = regular(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"no tools file {path}", "give a file of tools, a folder of them, or mcp.json") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"tools file {path} cannot be read: {reason(error)}", "expected JSON or YAML in UTF-8"
        ) from error
    if not text.strip():
        raise UsageError(f"tools file {path} is empty")
    if path.suffix in (".yaml", ".yml"):
        return ToolDocument(path, _yaml(text, path))
    try:
        return ToolDocument(path, _json(text))
    except (ValueError, RecursionError) as error:
        hint = "expected a JSON list, an object or JSONL; YAML needs the ending .yaml"
        raise UsageError(f"tools file {path} is not JSON: {error}", hint) from error


def read_all(folder: Path, warnings: Warnings) -> Iterator[ToolDocument]:
    """Every readable tools file below a folder, in the order of their names; the others are warnings.

    Links to folders are not followed: they can lead round in a circle.
    """
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(root, name)
            if path.suffix not in SUFFIXES or name.startswith("."):
                continue
            try:
                yield read(path)
            except UsageError as error:
                warnings.add("T12", error.message)


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) < 2 or not all(line.lstrip().startswith(("{", "[")) for line in lines):
            raise
        return [json.loads(line, parse_constant=_no_constant) for line in lines]


def _no_constant(constant: str) -> None:
    """NaN and Infinity, which Python would read, are no JSON."""
    raise ValueError(f"{constant} is no JSON value")


def _yaml(text: str, path: Path) -> Any:
    import yaml

    try:
        value = yaml.load(text, Loader=_json_loader())
        if _nodes(value, {}, frozenset()) > MOST_NODES:
            raise ValueError("its aliases stand for more than can be held")
        return _plain(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())[:200]
        raise UsageError(
            f"tools file {path} cannot be used as YAML: {problem}", "check it with a YAML linter"
        ) from error


@lru_cache(maxsize=1)
def _json_loader() -> Any:
    """A safe loader that knows JSON's types only: dates stay text, and Norway (`NO`) is no falsehood."""
    import yaml

    Loader: Any = type("Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
    unwanted = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool")
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in unwanted]
        for first, resolvers in Loader.yaml_implicit_resolvers.items()
    }
    import re

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
    )
    return Loader


def _nodes(value: Any, counted: dict[int, int], above: frozenset[int]) -> int:
    """How many nodes a YAML value is as a tree, where every alias is a copy: counted once for what has several, so that a bomb costs
    nothing. Raises `ValueError` for an alias that holds itself."""
    if not isinstance(value, (dict, list, tuple, set)):
        return 1
    if id(value) in above:
        raise ValueError("an alias holds itself")
    if id(value) not in counted:
        items = value.values() if isinstance(value, dict) else value
        inside = above | {id(value)}
        counted[id(value)] = 1 + sum(_nodes(item, counted, inside) for item in items)
    return counted[id(value)]


def _plain(value: Any) -> Any:
    """A YAML value as a tree of JSON's types: keys are texts, aliases are copies."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)
