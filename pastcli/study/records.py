"""Files of records, the layout of SQuAD and LooGLE: passages with their questions, and with texts that models wrote about them."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..ingest import sniff
from ..ingest.questions import TEXT_KEYS, document_of
from ..ingest.rows import records


def used(paths: Sequence[Path], kinds: Sequence[str]) -> list[dict[str, Any]]:
    """The records of these files in order, one file after the other; [] when they are not all files of records.

    `kinds` leaves out records that have none of them. Of several files, one without any such text is used whole.
    """
    if not all(map(_is_records, paths)):
        return []
    files = [by_passage(record for _, record in records(path)) for path in paths]
    kept = [
        record
        for found in files
        for record in found
        if not kinds or texts(record, kinds) or (len(files) > 1 and not _written(found))
    ]
    if not any(texts(record, kinds) for record in kept) and kinds:
        shown, found = ", ".join(map(str, paths)), [record for one in files for record in one]
        raise UsageError(f"no record of {shown} has a text of the kinds {', '.join(kinds)}", _kinds(found))
    return kept


def _written(found: Iterable[Mapping[str, Any]]) -> bool:
    """Whether anybody wrote texts about these passages."""
    return any(record.get("augmentations") or record.get("completions") for record in found)


def by_passage(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One record a passage, its questions inside: of Hugging Face's layout of SQuAD too, with a record a question."""
    made: list[dict[str, Any]] = []
    first: dict[str, int] = {}
    for number, record in enumerate(found):
        name, row = document_of(record, number + 1, first)
        if "question" not in record:
            made.append(dict(record))
            continue
        if row == number + 1:
            kept = {key: value for key, value in record.items() if key not in ("id", "question", "answer", "answers")}
            made.append({**kept, "questions": [], "row": row, **({"doc": name} if name else {})})
        passage = next(one for one in reversed(made) if one.get("row") == row)
        passage["questions"].append(
            {key: record[key] for key in ("id", "question", "answer", "answers") if key in record}
        )
    return [{key: value for key, value in record.items() if key != "row"} for record in made]


def _is_records(path: Path) -> bool:
    if path.is_dir() or path.suffix.lower() not in (".json", ".jsonl", ".ndjson") or sniff(path) != "documents":
        return False
    return any(key in record for _, record in records(path) for key in TEXT_KEYS)


def rows_of(chosen: Sequence[Mapping[str, Any]], kinds: Sequence[str], path: Path) -> list[dict[str, Any]]:
    """The records with a `doc` each, so that passages and questions agree, and the wanted texts as `completions`."""
    rows: list[dict[str, Any]] = []
    used: Counter[str] = Counter()
    for number, record in enumerate(chosen, 1):
        doc = str(record.get("doc") or record.get("id") or f"{slug(title(record)) or path.stem}-{number}")
        used[doc] += 1
        row = {key: value for key, value in record.items() if key != "augmentations"}
        if kinds:
            row["completions"] = texts(record, kinds)
        rows.append({**row, "doc": doc if used[doc] == 1 else f"{doc}~{used[doc]}"})
    return rows


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40]


def texts(record: Mapping[str, Any], kinds: Sequence[str]) -> list[str]:
    """The texts of the kinds asked for (`base.implications:3`), in order; also of a plain list of `completions`."""
    had = record.get("augmentations") or {"completions": record.get("completions") or []}
    found: list[str] = []
    for wanted in kinds:
        pattern, _, most = wanted.partition(":")
        if most and not most.isdigit():
            raise UsageError(f"{wanted!r} in kinds: {most!r} is no number", "write AUTHOR.KIND or AUTHOR.KIND:3")
        for name in sorted(had):
            if fnmatch.fnmatchcase(name, pattern):
                found += had[name][: int(most) if most else None]
    return found


def _kinds(found: Sequence[Mapping[str, Any]]) -> str:
    return f"kinds there: {', '.join(sorted({kind for record in found for kind in record.get('augmentations') or {}})) or 'none'}"


def title(record: Mapping[str, Any]) -> str:
    return str(record.get("title") or "")


def titles_of(found: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(filter(None, map(title, found)))
