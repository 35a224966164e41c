"""What a run came of, for the command that is suggested after it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from .. import runs
from ..suggestions import Behind
from ._lineage import ancestors


def behind(record: runs.Record) -> Behind:
    """The lessons, queries and SFT run that are nearest behind a run, itself included."""
    line = [record, *ancestors(record)]
    sft = next((tuple(one.manifest.get("argv", ())) for one in line if one.stage == "sft"), ())
    for one in line:
        if one.stage == "ingest" and one.input("tools"):
            of_target = any(Path(file).name.startswith("target_") for file in _documents(record))
            tests = _typed(one, "target_test_queries") or _typed(one, "test_queries")
            return Behind(_typed(one, "corpus"), _typed(one, "queries"), tests, of_target, sft)
        if tools := one.input("tools"):
            return Behind("", _shown(Path(tools)), _shown(Path(tools)), False, sft)
    return Behind(sft=sft)


def _documents(record: runs.Record) -> Iterator[str]:
    for name in record.manifest["inputs"]:
        if name.startswith("documents"):
            yield record.input(name) or ""


def _typed(record: runs.Record, name: str) -> str:
    """An output as a word of a command; '' if there is none."""
    place = record.output(name)
    return "" if place is None or not place.exists() else _shown(place)


def _shown(place: Path) -> str:
    inside = place.is_relative_to(runs.workspace())
    return shlex.quote(str(place.relative_to(runs.workspace()) if inside else place))
