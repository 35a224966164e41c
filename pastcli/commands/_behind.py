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
    begun = next((one for one in line if one.stage == "sft"), None)
    sft = tuple(begun.manifest.get("argv", ())) if begun and begun.typed_in == Path.cwd() else ()
    for one in line:
        if one.stage == "ingest" and one.input("tools"):
            read = {Path(file) for file in _documents(_reader(record))}
            of_target = any(file.name.startswith("target_") for file in read)
            of_source = one.output("corpus") in read
            tests = _typed(one, "target_test_queries") if not of_source else ""
            tests = tests or _typed(one, "test_queries")
            return Behind(_typed(one, "corpus"), _typed(one, "queries"), tests, of_target, sft)
        if tools := one.input("tools"):
            return Behind("", _shown(Path(tools)), _shown(Path(tools)), False, sft)
    return Behind(sft=sft, questions=_questions(_reader(record)))


def _questions(reader: runs.Record) -> str:
    """The questions that lie in the folder of a study beside the corpus that a model has learnt; '' where there are none."""
    for file in map(Path, _documents(reader)):
        beside = file.with_name(f"{file.stem}_questions.jsonl")
        if beside.is_file():
            return _shown(beside)
    return ""


def _reader(record: runs.Record) -> runs.Record:
    """The run that read documentation for the model which a run has made: of an injection the one behind its target."""
    target = record.input("target") if record.stage == "inject" else None
    owner = runs.owner_of(Path(target)) if target else None
    if owner is None:
        return record
    return next((one for one in (owner, *ancestors(owner)) if one.stage == "sft"), owner)


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
