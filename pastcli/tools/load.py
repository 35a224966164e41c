"""`load_tools`: one entry for every tools format. A format is a module with NAME, accepts(entries) and
read(entries, warnings); to add one, write the module and name it in FORMATS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..api import Task, ToolSpec
from ..errors import UsageError
from . import names, openai_functions, toolbench
from .warnings import Warnings

FORMATS = (toolbench, openai_functions)


@dataclass(frozen=True)
class ToolSet:
    """What a tools file holds: the tasks to run, in its order, and what was wrong with it."""

    format: str
    tasks: tuple[Task, ...]
    warnings: Warnings

    @property
    def tools(self) -> int:
        """How many different APIs there are."""
        return len({spec.key for task in self.tasks for spec in task.tools})


def load_tools(path: Path, queries: Sequence[str] = (), strict: bool = False) -> ToolSet:
    """Read a tools file of any known format, told apart by content.

    `queries` are asked with all tools of a file that brings no queries of its own; for one that does, they are
    asked with the tools of all its queries instead of these. `strict` turns warnings into errors.
    Raises `UsageError` for a missing, empty or unreadable file, an unknown format, or no query at all.
    """
    entries = _entries(path)
    known = next((format for format in FORMATS if entries and format.accepts(entries)), None)
    if known is None:
        accepted = " and ".join(format.NAME for format in FORMATS)
        hint = f"accepted: {accepted}, as a JSON list, an object or JSONL"
        raise UsageError(f"{path} is of no known tools format", hint)
    warnings = Warnings(strict)
    tasks, specs = known.read(entries, warnings)
    if queries:
        shared = {spec.key: spec for spec in [*specs, *(spec for task in tasks for spec in task.tools)]}
        tasks = [Task(f"q{number}", text, tuple(shared.values())) for number, text in enumerate(queries, start=1)]
    tasks = [replace(task, tools=_named_apart(task.tools, warnings)) for task in tasks]
    if not tasks:
        if specs:
            raise UsageError(f"{path} holds functions but no queries", 'ask with --query "…" (may repeat)')
        raise UsageError(f"no usable query or function in {path}", "; ".join(warnings.lines()) or None)
    return ToolSet(known.NAME, tuple(tasks), warnings)


def _named_apart(specs: Sequence[ToolSpec], warnings: Warnings) -> tuple[ToolSpec, ...]:
    """The tools of one task, no two of the same name."""
    exposed = names.distinct([spec.name for spec in specs], [spec.key for spec in specs])
    for spec, name in zip(specs, exposed, strict=True):
        if name != spec.name:
            warnings.add("T05", f"API {spec.tool} / {spec.api} would be {spec.name!r} like another one; it is {name!r}")
    return tuple(replace(spec, name=name) for spec, name in zip(specs, exposed, strict=True))


def _entries(path: Path) -> list[Any]:
    """The items of a JSON list, a JSON object alone, or the lines of a JSONL file."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"no tools file {path}", "give a ToolBench query file or a list of OpenAI functions") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"tools file {path} cannot be read: {error}", "expected JSON in UTF-8") from error
    if not text.strip():
        raise UsageError(f"tools file {path} is empty")
    try:
        value = _parse(text)
    except (ValueError, RecursionError) as error:
        hint = "expected a JSON list, an object or JSONL"
        raise UsageError(f"tools file {path} is not JSON: {error}", hint) from error
    return value if isinstance(value, list) else [value]


def _parse(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_nothing)
    except json.JSONDecodeError:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) < 2 or not all(line.lstrip().startswith(("{", "[")) for line in lines):
            raise
        return [json.loads(line, parse_constant=_nothing) for line in lines]


def _nothing(constant: str) -> None:
    """NaN and Infinity, which Python would read, are no JSON."""
