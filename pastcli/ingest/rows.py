"""Files of records, row by row: JSONL, JSON, CSV, TSV, Parquet. A row that cannot be read spoils only itself."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import PastError, UsageError
from .decode import read_text
from .faults import Faults

Rows = Iterator[tuple[int, dict[str, Any]]]

ONE_A_LINE = (
    'expected one JSON object a line, such as {"question": "...", "answer": "..."} or {"title": "...", "text": "..."}'
)


def records(path: Path, faults: Faults | None = None) -> Rows:
    """(number, object) of every record: lines of JSONL and tables by line number, elements of a JSON list from 1.

    SQuAD's official nesting ({"data": [{"title", "paragraphs"}]}) is flattened to one record a paragraph. Broken
    records go to `faults` (without it, or if there is no whole record at all, the first one is raised as `UsageError`).
    """
    faults = Faults(strict=True) if faults is None else faults
    read = READERS.get(path.suffix.lower(), lines)
    before, whole = len(faults.items), 0
    for number, record in read(path, faults):
        whole += 1
        yield number, record
    if not whole and len(faults.items) > before:
        place, reason = faults.items[before]
        raise UsageError(f"{place}: {reason}", ONE_A_LINE)


def lines(path: Path, faults: Faults) -> Rows:
    """JSON Lines. Each line is decoded by itself: one that is no UTF-8 says nothing about the others."""
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            raw = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if not raw.strip():
                continue
            place = f"{path}, line {number}"
            try:
                record = json.loads(raw.decode("utf-8"))
            except UnicodeDecodeError as error:
                faults.add(place, f"not UTF-8, as JSONL must be (byte {error.start}: {error.reason})", ONE_A_LINE)
                continue
            except (ValueError, RecursionError) as error:
                faults.add(place, f"not valid JSON ({error})", ONE_A_LINE)
                continue
            if _usable(record, b"\\ud" in raw.lower(), place, faults):
                yield number, record


DEEPEST = 100
"""Lists and objects within one another that a record may have. Python reads some thousands, in which what looks at a record gets lost."""


def _deeper_than(most: int, record: dict[str, Any]) -> bool:
    level: list[Any] = [record]
    for _ in range(most):
        inner = (value for one in level for value in (one.values() if isinstance(one, dict) else one))
        level = [value for value in inner if isinstance(value, (dict, list))]
        if not level:
            return False
    return True


def _usable(record: Any, suspect: bool, place: str, faults: Faults) -> bool:
    if not isinstance(record, dict):
        faults.add(place, "not a JSON object", ONE_A_LINE)
        return False
    if _deeper_than(DEEPEST, record):
        faults.add(place, f"nested more than {DEEPEST} deep")
        return False
    if suspect:
        try:
            json.dumps(record, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            faults.add(place, "half of a character (a lone surrogate, such as \\ud83d) in its text")
            return False
    return True


def whole_json(path: Path, faults: Faults) -> Rows:
    """A JSON list, SQuAD's nesting, or a single object; a file of JSON Lines under that name is read as such."""
    text = read_text(path)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        if _is_lines(text):
            yield from lines(path, faults)
            return
        hint = "mend the file, or name it .jsonl if it has one object a line"
        raise UsageError(f"{path} is not valid JSON: {error}", hint) from error
    if isinstance(data, dict):
        data = data["data"] if isinstance(data.get("data"), list) else [data]
    if not isinstance(data, list):
        raise UsageError(f"{path} holds a bare {type(data).__name__}", "expected a list of objects")
    suspect = "\\ud" in text.lower()
    flat = (record for entry in data for record in _flat(entry))
    for number, record in enumerate(flat, 1):
        if _usable(record, suspect, f"{path}, record {number}", faults):
            yield number, record


def _is_lines(text: str) -> bool:
    first, _, rest = text.strip().partition("\n")
    try:
        return bool(rest) and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _flat(entry: Any) -> Iterator[Any]:
    if isinstance(entry, dict) and isinstance(entry.get("paragraphs"), list):
        for paragraph in entry["paragraphs"]:
            if isinstance(paragraph, dict):
                questions = paragraph.get("questions", paragraph.get("qas", []))
                yield {"title": entry.get("title", ""), **paragraph, "questions": questions}
    else:
        yield entry


def table(path: Path, faults: Faults) -> Rows:
    """A CSV or TSV file with a header; the delimiter of a .csv may be `,` `;` `|` or a tab."""
    text = read_text(path)
    csv.field_size_limit(sys.maxsize)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text.split("\n", 1)[0])
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="")
    reader.fieldnames = [str(name).strip() for name in reader.fieldnames or []]
    try:
        for row in reader:
            if "" in row:
                faults.add(f"{path}, line {reader.line_num}", "more fields than the header has")
            else:
                yield reader.line_num, {name: value for name, value in row.items() if value not in (None, "")}
    except csv.Error as error:
        faults.add(f"{path}, line {reader.line_num}", f"not a table from here on ({error})")


def _delimiter(header: str) -> str:
    return max(",;|\t", key=header.count)


def parquet(path: Path, faults: Faults) -> Rows:
    """The rows of a Parquet file, batch by batch."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise PastError("Parquet files need pyarrow", "pip install 'pastcli[readers]'") from error
    try:
        number = 0
        for batch in ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, {name: value for name, value in row.items() if value is not None}
    except (ArrowException, OSError) as error:
        raise UsageError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from error


READERS: dict[str, Callable[[Path, Faults], Rows]] = {
    ".json": whole_json,
    ".csv": table,
    ".tsv": table,
    ".parquet": parquet,
}
