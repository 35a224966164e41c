"""Counts of a config that no model has: transformers makes a module, or a list entry, for each and would never come to an end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pastcli.errors import MismatchError
from pastcli.files import read_json

MOST = 10_000
"""Ten times as many as the deepest model that was published; a list of so many is made in a moment."""

_COUNTED = ("layer", "expert", "head")
_OF_WIDTH = ("dim", "size", "every", "freq", "step", "norm", "drop", "coef", "factor", "_k", "rank", "type")


def refuse_impossible(folder: Path) -> None:
    """Raise `MismatchError` if the config.json there counts layers, heads or experts that no model has."""
    file = folder / "config.json"
    for name, count in _counts(read_json(file)):
        if count > MOST:
            raise MismatchError(f"{file}: {name} is {count}, and no model has so many", "is it damaged? get it anew")


def _counts(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Every number of layers, heads and experts, those of a part (`text_config`) too."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _counts(value)
        elif isinstance(value, int) and _is_count(name):
            yield name, value


def _is_count(name: str) -> bool:
    return any(word in name for word in _COUNTED) and not any(word in name for word in _OF_WIDTH)
