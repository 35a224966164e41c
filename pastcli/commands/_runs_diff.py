"""`past runs diff A B`: in what two runs differ, and what they came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from .. import lookups, output, runs
from ._options import Json, close, complete_run, told

EXAMPLE = "Example: `past runs diff @sft~1 @sft`"

TIMES = ("seconds", "seconds_training", "tokens_per_second")
"""Measurements of the machine rather than of the work: no two runs share them."""

One = Annotated[str, typer.Argument(metavar="A", help="A run: id, path or @STAGE.", autocompletion=complete_run)]
Other = Annotated[str, typer.Argument(metavar="B", help="The run to hold it against.", autocompletion=complete_run)]


def command(a: One, b: Other, as_json: Json = False) -> None:
    """Settings, data, versions and measurements in which two runs differ; what is not shown is the same in both.

    Inputs are compared by content: the same bytes under two names are no difference, other bytes under one name are.
    """
    one, other = runs.find(a), runs.find(b)
    found = differences(one.whole(), other.whole())
    end = lookups.differing(found, one.id, other.id, (one.stage, other.stage))
    document = {"a": one.id, "b": other.id, "differences": found, **told(end)}

    def human() -> None:
        rows = [(row["in"], row["name"], row["a"], row["b"]) for row in found]
        if rows:
            output.table("", ("in", "name", one.id, other.id), rows)

    output.emit(document, as_json, human)
    close(end, as_json)


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each stage, setting, input, version and measurement that is not the same."""
    rows = _rows("run", {"stage": one["stage"]}, {"stage": other["stage"]})
    rows += _rows("settings", one.get("config", {}), other.get("config", {}))
    rows += _rows("inputs", _contents(one), _contents(other))
    rows += _rows("versions", one.get("versions", {}), other.get("versions", {}))
    rows += _rows(
        "metrics", *({k: v for k, v in run.get("metrics", {}).items() if k not in TIMES} for run in (one, other))
    )
    return rows


def _rows(kind: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = dict.fromkeys([*one, *other])
    return [
        {"in": kind, "name": name, "a": one.get(name), "b": other.get(name)}
        for name in names
        if one.get(name) != other.get(name)
    ]


def _contents(run: Mapping[str, Any]) -> dict[str, str]:
    """Each input by what it holds, or by its name where nothing was hashed."""
    return {name: entry.get("hash") or entry["path"] for name, entry in run.get("inputs", {}).items()}
