"""Is a call allowed by its documentation? Decided in code, with the same words every time."""

from __future__ import annotations

import json
from typing import Any

from ..api import Parameter, ToolSpec
from . import types

_ARTICLES = {"integer": "an integer", "array": "an array", "object": "an object", "null": "null"}


def check(spec: ToolSpec, arguments: Any) -> tuple[str, dict[str, Any]]:
    """(error, arguments by exposed name); the error is '' for a valid call.

    Names as shown and as the source spells them are both accepted. Every fault is named, in the order of the
    arguments, then of the documentation. What the documentation does not require or know is never hinted at:
    recalling it is the model's task (METHOD 3, tool use).
    """
    if not isinstance(arguments, dict):
        return f"the input must be a JSON object, not {_a(types.type_of(arguments))}", {}
    faults: list[str] = []
    given: dict[str, Any] = {}
    for name, value in arguments.items():
        parameter = spec.parameter(name)
        if parameter is None:
            faults.append(f"unknown parameter {_quote(name)}")
        elif parameter.name in given:
            faults.append(f"parameter {_quote(parameter.name)} is given twice")
        else:
            given[parameter.name] = value
            faults.extend(_value_faults(parameter, value))
    missing = [p.name for p in spec.parameters if p.required and p.name not in given]
    faults.extend(f"missing required parameter {_quote(name)}" for name in missing)
    return "; ".join(faults), given


def _value_faults(parameter: Parameter, value: Any) -> list[str]:
    name = _quote(parameter.name)
    if not types.is_of(value, parameter.type):
        return [f"parameter {name} must be {_a(parameter.type)}, not {_a(types.type_of(value))}"]
    if parameter.enum and value not in parameter.enum:
        return [f"parameter {name} must be one of {json.dumps(list(parameter.enum), ensure_ascii=False)}"]
    return []


def _a(kind: str) -> str:
    return _ARTICLES.get(kind, f"a {kind}")


def _quote(name: str) -> str:
    """A name from a model may be of any length; the message must not be."""
    return json.dumps(name if len(name) <= 80 else name[:77] + "...", ensure_ascii=False)
