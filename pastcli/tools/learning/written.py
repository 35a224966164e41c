"""Queries with their tools as a ToolBench file: one that every command that takes `--tools` reads, with nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...api import Parameter, Task, ToolSpec, object_schema


def write_queries(path: Path, tasks: Iterable[Task]) -> None:
    """The file; each query with all of its tools' documentation, and the run known to solve it."""
    rows = [json.dumps(entry(task), ensure_ascii=False) for task in tasks]
    path.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8", newline="\n")


def entry(task: Task) -> dict[str, Any]:
    """One query as `formats.toolbench` reads it."""
    specs = {spec.key: spec for spec in task.tools}
    made: dict[str, Any] = {
        "query_id": task.id,
        "query": task.query,
        "api_list": [row(spec) for spec in task.tools],
        "relevant APIs": [[specs[key].tool, specs[key].api] for key in task.relevant],
    }
    if task.reference is not None:
        calls = [
            {
                "api": [specs[call.key].tool, specs[call.key].api],
                "arguments": {name: allowed[0] for name, allowed in call.arguments.items()},
            }
            for call in task.reference.calls
        ]
        made["reference"] = {"calls": calls, "answer": task.reference.answer}
    return made


def row(spec: ToolSpec) -> dict[str, Any]:
    """One API; its schema whole only where ToolBench's own fields do not hold all of it."""
    required = [parameter for parameter in spec.parameters if parameter.required]
    optional = [parameter for parameter in spec.parameters if not parameter.required]
    made: dict[str, Any] = {
        "category_name": spec.category,
        "tool_name": spec.tool,
        "api_name": spec.api,
        "api_description": spec.description,
        "method": spec.method,
        "required_parameters": [_parameter(parameter) for parameter in required],
        "optional_parameters": [_parameter(parameter) for parameter in optional],
        "function_name": spec.name,
    }
    if spec.response_template is not None:
        made["template_response"] = spec.response_template
    if spec.response_schema:
        made["response_schema"] = spec.response_schema
    if json.dumps(_told_by_fields(spec)) != json.dumps(spec.schema):  # in the same order, too
        made["json_schema"] = spec.schema
    return made


def _told_by_fields(spec: ToolSpec) -> dict[str, Any]:
    ordered = [*(p for p in spec.parameters if p.required), *(p for p in spec.parameters if not p.required)]
    flat = (Parameter(p.name, p.type, p.description, p.required, p.default) for p in ordered)
    return object_schema(*flat)


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.raw_name or parameter.name,
        "type": parameter.type.upper() if parameter.type != "any" else "any",
        "description": parameter.description,
        "default": parameter.default if parameter.default is not None else "",
    }
