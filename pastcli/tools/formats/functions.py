"""What the formats of single functions share: a name that may need rewriting, a schema that may need mending."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ...api import ToolSpec, ToolWarnings
from ...api.tools import Key
from .. import names
from ..schemas import normalise, normalise_value
from . import text_of

_LEGAL = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


def function_spec(
    entry: dict[str, Any],
    schema: Any,
    category: str,
    warnings: ToolWarnings,
    response: Any = None,
    needs_description: bool = True,
) -> ToolSpec:
    """A function with `name` and `description`; `schema` documents its arguments, `response` its answer."""
    api = entry["name"]
    where = f"function {api}"
    return ToolSpec(
        name=shown_name(api, where, warnings),
        category=category,
        tool="",
        api=api,
        description=text_of(entry, "description", where, warnings, needs_description),
        method="",
        schema=normalise(schema, where, warnings),
        response_schema=normalise_value(response, f"{where}, response", warnings) or None,
    )


def shown_name(api: str, where: str, warnings: ToolWarnings) -> str:
    """A legal function name: the source's own if it is one, else standardised and cut at the front."""
    name = api if _LEGAL.fullmatch(api) else names.standardize(api)[-names.MAX_NAME :].lstrip("_")
    if name != api:
        warnings.add("T09", f"{where}: shown as {name!r}")
    return name


def once(specs: Iterable[ToolSpec], warnings: ToolWarnings) -> list[ToolSpec]:
    """Without those whose key was there before; each is a warning."""
    found: dict[Key, ToolSpec] = {}
    for spec in specs:
        if spec.key in found:
            warnings.add("T06", f"function {spec.api} is defined again")
        found.setdefault(spec.key, spec)
    return list(found.values())


def named(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("name"), str) and bool(entry["name"].strip())
