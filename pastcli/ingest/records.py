"""The corpus file, and what a file holds by the look of its first record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from ..api import Passage
from ..errors import PastError, UsageError
from ..files import write_lines
from .faults import Faults
from .pairs import is_pair
from .questions import TEXT_KEYS
from .rows import lines, records

RECORD_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


def sniff(path: Path) -> str:
    """What a path holds, by its first whole record: `corpus`, `pairs`, `questions` or `documents`.

    Anything that is no file of records (folders, PDFs) and any file that cannot be read is `documents`: whoever reads
    it then says what is wrong.
    """
    if not path.is_file() or path.suffix.lower() not in RECORD_SUFFIXES:
        return "documents"
    try:
        first = next((record for _, record in islice(records(path, Faults()), 1)), {})
    except (PastError, OSError):
        return "documents"
    if {"id", "doc", "title", "text"} <= first.keys():
        return "corpus" if path.suffix.lower() in (".jsonl", ".ndjson") else "documents"
    if is_pair(first):
        return "pairs"
    return "questions" if "question" in first and not first.keys() & set(TEXT_KEYS) else "documents"


def is_corpus(path: Path) -> bool:
    """True for a file that `past ingest` wrote."""
    return sniff(path) == "corpus"


def write_corpus(path: Path, passages: Iterable[Passage]) -> None:
    """One passage a line, in order."""
    write_lines(path, map(asdict, passages))


def read_corpus(path: Path, faults: Faults | None = None) -> list[Passage]:
    """The passages of a corpus; a line that is none goes to `faults` (without it, it is raised as `UsageError`)."""
    faults = Faults(strict=True) if faults is None else faults
    passages = []
    for number, record in lines(path, faults):
        text: dict[str, Any] = {key: record.get(key) for key in ("id", "doc", "title", "text")}
        kind, source = record.get("kind", "passage"), record.get("source", {})
        missing = next((key for key, value in text.items() if value is None), None)
        if (
            missing
            or not all(isinstance(value, str) for value in (*text.values(), kind))
            or not isinstance(source, dict)
        ):
            reason = f"no {missing!r}" if missing else "no passage"
            faults.add(f"{path}, line {number}", reason, "a corpus is made by `past ingest`")
            continue
        passages.append(Passage(**text, kind=kind, source=source))
    if not passages and faults.items:
        raise UsageError(": ".join(faults.items[0]), "a corpus is made by `past ingest`")
    return passages
