"""The types of documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Passage:
    """One line of corpus.jsonl: a text with its provenance.

    `kind` is `passage` or `implication`; `source` says where it came from: path, format, page or
    character span, sha256 of the file.
    """

    id: str
    doc: str
    title: str
    text: str
    kind: str = "passage"
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """A closed-book question with its accepted answers (the first is the reference)."""

    id: str
    question: str
    answers: tuple[str, ...]
    doc: str = ""


PassageStream = Iterable[Passage]
