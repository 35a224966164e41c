"""Queries of the user's own, with what is expected of a good run: a JSON list or JSONL.

    {"query": "Fare of SK-1?", "id": "1", "expected_calls": [{"name": "get_fare", "arguments": {"sailing": "SK-1"}}],
     "expected_answer": "41.50 NOK", "check": "checks.py:fare_is_right", "relevant": ["get_fare"]}

All but `query` may be left out. `name` and `relevant` are names as shown to the model; an argument may be a list of values
that are all right, written {"any": [...]}; `check` is a function of a Python file beside this one, called with the `Episode`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..api import ExpectedCall, Task, ToolSpec
from ..errors import UsageError, reason
from ..regular import regular
from .judging.expected import load_check

_KNOWN = {"id", "query", "expected_calls", "expected_answer", "check", "relevant"}


def read_tasks(path: Path) -> list[dict[str, Any]]:
    """The entries of a tasks file. Raises `UsageError` for a file that is none."""
    try:
        text = regular(path).read_text(encoding="utf-8-sig")
        try:
            entries = json.loads(text)
        except ValueError:
            entries = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(
            f"tasks file {path} cannot be read: {reason(error)}", "expected a JSON list or JSONL of queries"
        ) from error
    entries = entries if isinstance(entries, list) else [entries]
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("query"), str) or not entry["query"].strip():
            raise UsageError(f"entry {number} of {path} has no query", 'write {"query": "…", "expected_answer": "…"}')
        unknown = sorted(set(entry) - _KNOWN)
        if unknown:
            raise UsageError(
                f"entry {number} of {path}: unknown field {unknown[0]}", f"known: {', '.join(sorted(_KNOWN))}"
            )
    if not entries:
        raise UsageError(f"{path} holds no queries")
    return entries


def expected_tasks(entries: Sequence[dict[str, Any]], tasks: Sequence[Task], path: Path) -> list[Task]:
    """The loaded tasks (one a query, in the order of `entries`) with what each entry expects."""
    made = []
    for number, (entry, task) in enumerate(zip(entries, tasks, strict=True), start=1):
        where = f"entry {number} of {path}"
        calls = tuple(_call(call, task.tools, where) for call in entry.get("expected_calls", []))
        check = entry.get("check", "")
        if check:
            check = str((path.parent / check.rpartition(":")[0]).resolve()) + ":" + check.rpartition(":")[2]
            load_check(check)
        relevant = tuple(_named(name, task.tools, where).key for name in entry.get("relevant", [])) or task.relevant
        answer = entry.get("expected_answer")
        changes = {"expected_calls": calls, "expected_answer": None if answer is None else str(answer), "check": check}
        made.append(replace(task, id=str(entry.get("id", task.id)), relevant=relevant, **changes))
    if len({task.id for task in made}) < len(made):
        raise UsageError(f"two entries of {path} have the same id")
    return made


def _call(call: Any, tools: Sequence[ToolSpec], where: str) -> ExpectedCall:
    if (
        not isinstance(call, dict)
        or not isinstance(call.get("name"), str)
        or not isinstance(call.get("arguments", {}), dict)
    ):
        raise UsageError(f'{where}: an expected call is {{"name": …, "arguments": {{…}}}}')
    spec = _named(call["name"], tools, where)
    values = {}
    for name, value in call.get("arguments", {}).items():
        parameter = spec.parameter(name)
        if parameter is None:
            raise UsageError(f"{where}: {spec.name} has no parameter {name!r}")
        several = isinstance(value, dict) and set(value) == {"any"} and isinstance(value["any"], list)
        values[parameter.name] = tuple(value["any"]) if several else (value,)
    return ExpectedCall(spec.key, values)


def _named(name: str, tools: Sequence[ToolSpec], where: str) -> ToolSpec:
    spec = next((spec for spec in tools if name in (spec.name, spec.api)), None)
    if spec is None:
        raise UsageError(f"{where}: no function {name!r}", f"functions: {', '.join(spec.name for spec in tools[:20])}")
    return spec
