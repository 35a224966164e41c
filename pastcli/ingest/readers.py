"""One small function a format: a file becomes documents. A file that cannot be read raises `UsageError`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..errors import UsageError
from . import formats, gzipped, man, markup, office, pdf
from .blocks import Block, Mark, joined
from .decode import decode, read_text
from .faults import Faults
from .pairs import is_pair
from .questions import document_of, text_of
from .rows import records


@dataclass(frozen=True)
class Document:
    """A title and plain text. `marks` say which parts of it are headings, code and tables, `pages` are the offsets at which pages begin (PDF only); `name` and `row` tell
    the documents of one file apart; `completions` are sets of implications, each one text with a line each.
    """

    title: str
    text: str
    pages: tuple[int, ...] = ()
    name: str = ""
    row: int = 0
    completions: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()


def of_blocks(title: str, found: Sequence[Block]) -> list[Document]:
    """The one document that blocks make."""
    text, marks = joined(found)
    return [Document(title, text, marks=marks)]


def read_txt(path: Path) -> list[Document]:
    """Plain text; a short first line set off by an empty one is the title."""
    text = read_text(path)
    head = re.match(r"\s*(\S[^\n]{0,99})\n[ \t]*\n", text)
    if head and not head.group(1).rstrip().endswith((".", "!", "?", ":", ",", ";", "。")):
        return [Document(" ".join(head.group(1).split()), text[head.end() :])]
    return [Document("", text)]


def read_md(path: Path) -> list[Document]:
    return of_blocks(*markup.markdown(read_text(path)))


def read_html(path: Path) -> list[Document]:
    return of_blocks(*markup.hypertext(read_text(path)))


def read_pdf(path: Path) -> list[Document]:
    title, texts = pdf.pages(path)
    starts = [0]
    for text in texts:
        starts.append(starts[-1] + len(text) + 1)
    return [Document(title, "\n".join(texts), pages=tuple(starts[:-1]))]


def read_records(path: Path, faults: Faults | None = None) -> list[Document]:
    """Rows with a text: `{"title", "text"}` of any kind of rows, SQuAD with `completions` or flat, LooGLE.

    A row without one goes to `faults` (without it, or if no row has one, the first is raised as `UsageError`).
    """
    faults = Faults(strict=True) if faults is None else faults
    documents: list[Document] = []
    first: dict[str, int] = {}
    before = len(faults.items)
    for number, record in records(path, faults):
        text = None if is_pair(record) else text_of(record)
        if text is None:
            hint = "questions go to `past rl` and `past eval`, prompt/completion pairs to `past sft --mix`"
            pair = ": a pair, for `past sft`" if is_pair(record) else ""
            faults.add(
                f"{path}, record {number}", f"has no text (keys: {', '.join(map(str, record)) or 'none'}){pair}", hint
            )
            continue
        name, row = document_of(record, number, first)
        if row != number and "question" in record:  # the passage again, for its next question
            continue
        title = str(record.get("title") or "")
        if "context" in record:  # SQuAD names its articles as their addresses do: Jehovah%27s_Witnesses
            title = unquote(title).replace("_", " ")
        documents.append(Document(title, text, name=name, row=row, completions=_completions(record)))
    if not documents and len(faults.items) > before:
        raise UsageError(
            " ".join(faults.items[before]), "questions go to `past rl` and `past eval`, pairs to `past sft`"
        )
    return documents


def _completions(record: dict[str, Any]) -> tuple[str, ...]:
    found = record.get("completions", record.get("implications", []))
    if isinstance(found, str):
        return (found,)
    if isinstance(found, list) and all(isinstance(entry, str) for entry in found):
        return tuple(found)
    return ("\n".join(str(line) for line in found[0]),) if found and isinstance(found[0], list) else ()


READERS: dict[str, Callable[[Path], Sequence[Document]]] = {
    "txt": read_txt,
    "md": read_md,
    "html": read_html,
    "pdf": read_pdf,
    "docx": lambda path: of_blocks(*office.read_docx(path)),
    "rst": lambda path: of_blocks(*formats.read_rst(path)),
    "tex": lambda path: of_blocks(*formats.read_tex(path)),
    "ipynb": lambda path: of_blocks(*formats.read_ipynb(path)),
    "epub": lambda path: of_blocks(*formats.read_epub(path)),
    "man": lambda path: of_blocks(*man.read_man(path)),
    **dict.fromkeys(("jsonl", "json", "csv", "tsv", "parquet"), read_records),
}
"""A reader for every format; those of `read_records` also take the `Faults` of their rows."""

SUFFIXES = {
    **{f".{name}": name for name in READERS},
    ".text": "txt",
    ".markdown": "md",
    ".htm": "html",
    ".xhtml": "html",
    ".ndjson": "jsonl",
    ".rest": "rst",
    ".latex": "tex",
}

ACCEPTED = (
    "accepted: txt, md, html, pdf (with text), docx, rst, tex, ipynb, epub, man; rows with a text in jsonl ({title, text}), "
    "json (SQuAD-like), csv, tsv, parquet; any of them gzipped, folders of these, and - for standard input"
)


SPOKEN = re.compile(r"(README|NEWS|FAQ|INSTALL|HACKING|HISTORY|CHANGES|AUTHORS)\b", re.IGNORECASE)
"""Names that are read by people, whatever stands behind the dot: README.Debian."""


def format_of(path: Path) -> str:
    """The reader for a file, by its suffix or else its first bytes; of a packed one by what is in it. Raises `UsageError` for
    what no reader takes."""
    name = gzipped.name_of(path)
    if re.fullmatch(r"\.[1-9n][a-z]*", name.suffix) and man.PAGE.search(gzipped.beginning(path, 65536)):
        return "man"  # manual pages are named by their section: tar.1
    known = SUFFIXES.get(name.suffix.lower())
    if known:
        return known
    start = gzipped.beginning(path, 4096)
    if start.startswith(b"%PDF-"):
        return "pdf"
    if start.startswith(b"PK\x03\x04") and b"application/epub+zip" in start:
        return "epub"
    if start.startswith(b"PK\x03\x04") and b"word/" in start + path.read_bytes():
        return "docx"
    if re.match(rb"\s*(<!doctype html|<html)", start, re.I):
        return "html"
    plain = name.suffix.lower() in ("", ".log", ".org", ".adoc") or SPOKEN.match(name.name)
    if plain and decode(start)[0]:
        return "txt"
    raise UsageError(f"no reader for {name.suffix or 'this kind of'} files", ACCEPTED)
