"""Files of records: corpus and question JSONL, SQuAD-like JSON, LooGLE JSONL. Errors name the line."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from ..api import Passage, Question
from ..errors import UsageError
from .decode import read_text

TEXT_KEYS = ("text", "content", "context", "input", "body")
"""Where a record keeps its text, the first that is there; LooGLE says `input`, SQuAD `context`."""

ONE_A_LINE = (
    'expected one JSON object a line, such as {"question": "...", "answer": "..."} or {"title": "...", "text": "..."}'
)


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, object) of every record: lines of JSONL by line number, elements of a JSON list counted from 1.

    SQuAD's official nesting ({"data": [{"title", "paragraphs"}]}) is flattened to one record a paragraph.
    """
    if path.suffix.lower() != ".json":
        yield from _lines(path)
        return
    try:
        data = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        hint = "mend the file, or name it .jsonl if it has one object a line"
        raise UsageError(f"{path} is not valid JSON: {error}", hint) from error
    if isinstance(data, dict):
        data = data["data"] if isinstance(data.get("data"), list) else [data]
    if not isinstance(data, list):
        raise UsageError(f"{path} holds a bare {type(data).__name__}", "expected a list of objects")
    number = 0
    for entry in data:
        for record in _flat(entry):
            number += 1
            if not isinstance(record, dict):
                raise UsageError(f"{path}, record {number}: not an object")
            yield number, record


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    record = json.loads(line)
                    if not isinstance(record, dict):
                        raise UsageError(f"{path}, line {number}: not a JSON object", ONE_A_LINE)
                    yield number, record
        except (json.JSONDecodeError, RecursionError) as error:
            raise UsageError(f"{path}, line {number}: not valid JSON ({error})", ONE_A_LINE) from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not UTF-8, as JSONL must be", f"byte {error.start}: {error.reason}") from error


def _flat(entry: Any) -> Iterator[Any]:
    if isinstance(entry, dict) and isinstance(entry.get("paragraphs"), list):
        for paragraph in entry["paragraphs"]:
            if isinstance(paragraph, dict):
                questions = paragraph.get("questions", paragraph.get("qas", []))
                yield {"title": entry.get("title", ""), **paragraph, "questions": questions}
    else:
        yield entry


def sniff(path: Path) -> str:
    """What a path holds, by content: `corpus`, `pairs` (prompt/completion), `questions` or `documents`.

    Only the first record of a JSONL file is read; anything else (folders, PDFs, SQuAD JSON) is `documents`.
    """
    if not path.is_file() or path.suffix.lower() not in (".jsonl", ".ndjson"):
        return "documents"
    keys = next((set(record) for _, record in islice(_lines(path), 1)), set())
    if {"id", "doc", "title", "text"} <= keys:
        return "corpus"
    if {"prompt", "completion"} <= keys:
        return "pairs"
    return "questions" if "question" in keys and not keys & set(TEXT_KEYS) else "documents"


def is_corpus(path: Path) -> bool:
    """True for a file that `past ingest` wrote."""
    return sniff(path) == "corpus"


# ---------------------------------------------------------------- corpus


def write_corpus(path: Path, passages: Iterable[Passage]) -> None:
    """One passage a line, in order."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(asdict(passage), ensure_ascii=False) + "\n" for passage in passages)


def read_corpus(path: Path) -> list[Passage]:
    """The passages of a corpus; raises `UsageError` naming the line that is none."""
    passages = []
    for number, record in _lines(path):
        try:
            text = {key: record[key] for key in ("id", "doc", "title", "text")}
        except KeyError as missing:
            raise UsageError(f"{path}, line {number}: no {missing}", "a corpus is made by `past ingest`") from None
        kind, source = record.get("kind", "passage"), record.get("source", {})
        if not all(isinstance(value, str) for value in (*text.values(), kind)) or not isinstance(source, dict):
            raise UsageError(f"{path}, line {number}: no passage", "a corpus is made by `past ingest`")
        passages.append(Passage(**text, kind=kind, source=source))
    return passages


# ---------------------------------------------------------------- questions


def read_questions(path: Path) -> list[Question]:
    """Questions with their accepted answers, the reference first.

    Takes JSONL rows of {"question", "answer" and/or "answers", "id", "doc"}, SQuAD-like JSON and LooGLE JSONL.
    A question without an answer is kept with none: it can be asked but not graded. Ids are made unique.
    """
    if not path.is_file():
        raise UsageError(f"no questions file {path}", 'expected JSONL rows like {"question": "...", "answer": "..."}')
    found: list[Question] = []
    used: dict[str, int] = {}
    first: dict[str, int] = {}
    for number, record in records(path):
        nested = record.get("questions", record.get("qa_pairs"))
        name, row = document_of(record, number, first)
        doc = name or (f"{path.stem}-{row}" if row else "")
        rows = [record] if nested is None else _list(nested, path, number)
        for index, row in enumerate(rows, 1):
            question = row.get("question", row.get("Q")) if isinstance(row, dict) else None
            if not isinstance(question, str) or not question.strip():
                raise UsageError(f"{path}, record {number}: no question", f"its keys: {', '.join(map(str, record))}")
            name = str(row.get("id") or (f"{doc or path.stem}-{number}" if nested is None else f"{doc}-{index}"))
            used[name] = used.get(name, 0) + 1
            unique = name if used[name] == 1 else f"{name}~{used[name]}"
            found.append(Question(unique, question.strip(), answers_of(row), str(doc or "")))
    if not found:
        raise UsageError(f"{path} holds no questions", 'expected JSONL rows like {"question": "...", "answer": "..."}')
    return found


def document_of(record: Mapping[str, Any], number: int, first: dict[str, int]) -> tuple[str, int]:
    """What tells the document of record `number` from others: the name it has, or else the first record with its text.

    So a passage and all questions on it have one document, in each of SQuAD's layouts: nested, a record a passage, and
    Hugging Face's, which has a record a question and repeats the passage. The `id` of a record with a question is the
    question's. ("", 0) for a question that says nothing of its document; `first` is kept from record to record.
    """
    text = next((record[key] for key in TEXT_KEYS if isinstance(record.get(key), str)), None)
    row = number if text is None else first.setdefault(text, number)
    single = "question" in record or "Q" in record
    if record.get("doc") or (record.get("id") and not single):
        return str(record.get("doc") or record["id"]), row
    return "", 0 if single and text is None else row


def answers_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Every distinct accepted answer of a record: `answer`, LooGLE's `A`, then `answers` (texts or SQuAD objects)."""
    many = row.get("answers") or []
    if isinstance(many, dict):  # the Hugging Face layout of SQuAD: {"text": [...], "answer_start": [...]}
        many = many.get("text") or []
    candidates = [row.get("answer", row.get("A")), *(many if isinstance(many, list) else [many])]
    texts = [entry.get("text") if isinstance(entry, dict) else entry for entry in candidates]
    return tuple(dict.fromkeys(str(text).strip() for text in texts if text is not None and str(text).strip()))


def _list(nested: Any, path: Path, number: int) -> list[Any]:
    """A list of questions; LooGLE stores it as the text of a Python literal."""
    if isinstance(nested, str):
        try:
            nested = ast.literal_eval(nested)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise UsageError(f"{path}, record {number}: its qa_pairs cannot be read: {error}") from error
    if not isinstance(nested, list):
        raise UsageError(f"{path}, record {number}: its questions are not a list")
    return nested
