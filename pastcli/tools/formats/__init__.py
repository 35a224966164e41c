"""The tools formats, told apart by content. A format is a module (or object) behind an entry point of `past.tool_formats`.

It has NAME, accepts(document) and read(document, warnings): see `ToolFormat` in the api. A document is one parsed file.
"""

from __future__ import annotations

from typing import Any

from ...api import ToolDocument, ToolFormat

BUILT_IN = "pastcli"


def installed() -> tuple[list[ToolFormat], list[str]]:
    """(formats, what is wrong with those that cannot be loaded); strangers' first, so that they can narrow ours."""
    from ... import registry
    from ...errors import PastError

    found, broken = [], []
    for plugin in sorted(registry.names("tool_format"), key=lambda p: (p.distribution == BUILT_IN, p.name)):
        try:
            found.append(registry.load("tool_format", plugin.name))
        except PastError as error:
            broken.append(error.message)
    return found, broken


def find(document: ToolDocument, formats: list[ToolFormat]) -> ToolFormat | None:
    """The first format that accepts a document; one that stumbles over it does not."""
    return next((one for one in formats if _accepts(one, document)), None)


def _accepts(one: ToolFormat, document: ToolDocument) -> bool:
    try:
        return bool(one.accepts(document))
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):
        return False


def text_of(row: dict[str, Any], key: str, where: str, warnings: Any, needed: bool = True) -> str:
    """A text field; what is none is a warning and ''."""
    value = row.get(key)
    if isinstance(value, str):
        return value
    if needed or value is not None:
        warnings.add("T01", f"{where}: {key} is {'missing' if value is None else 'no text'}")
    return ""
