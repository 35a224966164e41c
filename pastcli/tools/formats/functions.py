"""What the formats of single functions share: a name that may need rewriting, a schema that may need mending."""

from __future__ import annotations

import re
import unicodedata
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
    """A legal function name: the source's own if it is one, else standardised and cut at the front.

    Letters of other scripts stay what they are: of `погода` nothing would be left, and a name is all that a model is told.
    ToolBench's own names are made otherwise (`names`), since its client spells them so.
    """
    if _LEGAL.fullmatch(api):
        name = api
    else:
        name = (names.standardize(api) if api.isascii() else _in_its_script(api))[-names.MAX_NAME :].lstrip("_")
    if name != api:
        warnings.add("T09", f"{where}: shown as {name!r}")
    return name


def _in_its_script(api: str) -> str:
    """Letters, their marks and digits of any script as they are, composed; `_` for every run of anything else."""
    kept = " "
    for char in unicodedata.normalize("NFC", api):
        kind = unicodedata.category(char)[0]
        mark = kind == "M" and kept[-1:] != " "  # one that stands alone, as behind a picture, cannot be seen
        kept += char if char in "_.-" or kind in "LN" or mark else " "
    return "_".join(kept.split()).strip("_")


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
