"""Questions with their accepted answers, from every layout that people keep them in."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import output
from ..api import Question
from ..errors import UsageError
from ..regular import oddity
from .faults import Faults
from .rows import records

TEXT_KEYS = ("text", "content", "context", "input", "body", "passage", "document", "article")
"""Where a record keeps its text, the first that is there; LooGLE says `input`, SQuAD `context`."""

LIKE = 'expected rows like {"question": "...", "answer": "..."}'


def text_of(record: Mapping[str, Any]) -> str | None:
    """The text of a record; None if it has none."""
    return next((record[key] for key in TEXT_KEYS if isinstance(record.get(key), str)), None)


def document_of(record: Mapping[str, Any], number: int, first: dict[str, int]) -> tuple[str, int]:
    """What tells the document of record `number` from others: the name it has, or else the first record with its text.

    So a passage and all questions on it have one document, in each of SQuAD's layouts: nested, a record a passage, and
    Hugging Face's, which has a record a question and repeats the passage. The `id` of a record with a question is the
    question's. ("", 0) for a question that says nothing of its document; `first` is kept from record to record.
    """
    text = text_of(record)
    row = number if text is None else first.setdefault(text, number)
    single = "question" in record or "Q" in record
    if record.get("doc") or (record.get("id") and not single):
        return str(record.get("doc") or record["id"]), row
    return "", 0 if single and text is None else row


def read_questions(path: Path, strict: bool = False) -> list[Question]:
    """Questions with their accepted answers, the reference first.

    Takes rows of {"question", "answer" and/or "answers", "id", "doc"} (JSONL, CSV, Parquet), SQuAD nested or flat, and
    LooGLE. A question without an answer is kept with none: it can be asked but not graded. The same question about the
    same document counts once, with the answers it has first. Ids are made unique. What cannot be read is skipped with
    a warning, or raised under `strict`; raises `UsageError` if nothing is left.
    """
    if not path.is_file():
        raise UsageError(f"no questions file {path}", LIKE)
    if kind := oddity(path):
        raise UsageError(f"{path} is {kind}, not a file of questions", LIKE)
    faults = Faults(strict)
    found: dict[tuple[str, str], Question] = {}
    used: Counter[str] = Counter()
    twice, otherwise = 0, ""
    for name, row, doc in _rows(path, faults):
        used[name] += 1
        unique = name if used[name] == 1 else f"{name}~{used[name]}"
        question = Question(unique, row["question"].strip(), answers_of(row), doc)
        first = found.setdefault((" ".join(question.question.split()).casefold(), doc), question)
        if first is not question:
            twice += 1
            otherwise = otherwise or (question.question if set(question.answers) - set(first.answers) else "")
    if not found:
        place, reason = faults.items[0] if faults.items else (str(path), "it holds no questions")
        raise UsageError(f"{place}: {reason}", LIKE)
    faults.warn()
    if twice:
        also = f"; {otherwise!r} also with other answers, and its first ones are taken" if otherwise else ""
        output.warn(f"{path}: {twice} question(s) asked before in it count once{also}")
    return list(found.values())


def _rows(path: Path, faults: Faults) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(id, row with a `question`, document) of every question."""
    first: dict[str, int] = {}
    for number, record in records(path, faults):
        nested = record.get("questions", record.get("qa_pairs"))
        given, row_of = document_of(record, number, first)
        doc = given or (f"{path.stem}-{row_of}" if row_of else "")
        place = f"{path}, record {number}"
        rows = [record] if nested is None else _list(nested, place, faults)
        for index, row in enumerate(rows, 1):
            question = row.get("question", row.get("Q")) if isinstance(row, dict) else None
            if not isinstance(question, str) or not question.strip():
                faults.add(place, f"no question (keys: {', '.join(map(str, record))})", LIKE)
                continue
            name = row.get("id") or (f"{doc or path.stem}-{number if nested is None else index}")
            yield str(name), {**row, "question": question}, str((nested is not None and row.get("doc")) or doc)


def answers_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Every distinct accepted answer of a record: `answer` (one or a list), LooGLE's `A`, then `answers`."""
    texts = [*_texts(row.get("answer", row.get("A"))), *_texts(row.get("answers"))]
    return tuple(dict.fromkeys(text for text in map(str.strip, texts) if text))


def _texts(value: Any) -> list[str]:
    """The texts in an answer: itself, a list of answers, or SQuAD's objects with a `text` (one, or a list in it)."""
    if isinstance(value, Mapping):
        return _texts(value.get("text"))
    if isinstance(value, (list, tuple)):
        return [text for entry in value for text in _texts(entry)]
    return [] if value is None else [str(value)]


def _list(nested: Any, place: str, faults: Faults) -> list[Any]:
    """A list of questions; LooGLE stores it as the text of a Python literal."""
    if isinstance(nested, str):
        try:
            nested = ast.literal_eval(nested)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            faults.add(place, f"its qa_pairs cannot be read: {error}")
            return []
    if not isinstance(nested, list):
        faults.add(place, "its questions are not a list")
        return []
    return nested
