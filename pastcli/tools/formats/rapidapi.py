"""One API of RapidAPI as ToolBench describes it, in query files and in files of tools alike.

Every default is a text; types are loose; a template is an object whose leaves name types, and many have none,
some a text cut off at 1,000 characters.
"""

from __future__ import annotations

import json
from typing import Any

from ...api import Parameter, ToolSpec, ToolWarnings, object_schema
from ...words import counted
from .. import names, types
from ..schemas import normalise, normalise_value
from ..warnings import OfCategory
from . import text_of


def api_spec(
    row: dict[str, Any], category: str, tool: str, api: str, describes: str, warnings: ToolWarnings
) -> ToolSpec:
    """One API; `describes` is the field that holds its description."""
    where, warnings = f"API {tool} / {api}", OfCategory(warnings, category)
    parameters = _parameters(row, where, warnings)
    whole = row.get("json_schema")
    schema = normalise(whole, where, warnings) if isinstance(whole, dict) else object_schema(*parameters)
    return ToolSpec(
        name=row["function_name"] if isinstance(row.get("function_name"), str) else names.exposed_api(tool, api),
        category=category,
        tool=tool,
        api=api,
        description=text_of(row, describes, where, warnings),
        method=text_of(row, "method", where, warnings) or ("" if "function_name" in row else "GET"),
        schema=schema,
        aliases={p.raw_name: p.name for p in parameters if p.raw_name != p.name and p.name in schema["properties"]},
        response_template=_template(row.get("template_response"), where, warnings),
        response_schema=normalise_value(row.get("response_schema"), f"{where}, response", warnings) or None,
    )


def _parameters(row: dict[str, Any], where: str, warnings: ToolWarnings) -> tuple[Parameter, ...]:
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


def _parameter(entry: dict[str, Any], required: bool, where: str, warnings: ToolWarnings) -> Parameter:
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
    exact = {"format": "date"} if isinstance(spelling, str) and "YYYY-MM-DD" in spelling else {}
    return Parameter(
        name=names.exposed_parameter(raw) or raw,
        type="any" if loose else kind or "any",
        schema=loose or exact,
        description=text_of(entry, "description", where, warnings),
        required=required,
        default=default,
        raw_name=raw,
    )


def _template(value: Any, where: str, warnings: ToolWarnings) -> Any:
    """The response template as data; what is whole of one that came as a string cut off."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        warnings.add("T04", f"{where}: {counted(len(value), 'characters')} of template")
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
