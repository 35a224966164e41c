"""Folders and files to passages: what was read, what was skipped and why, what was there twice."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import output
from ..api import Passage
from ..config import IngestConfig
from ..errors import PastError, UsageError
from . import blocks
from .faults import Faults
from .gzipped import name_of, unpacked
from .passages import cut, statements
from .readers import ACCEPTED, READERS, SUFFIXES, Document, format_of, read_records
from .records import is_corpus, read_corpus
from .walk import Found, made_of, walk


@dataclass
class FileReport:
    """One file: its format and what came of it, why it was skipped, or which of its records were (place, reason)."""

    path: str
    format: str = ""
    documents: int = 0
    passages: int = 0
    implications: int = 0
    chars: int = 0
    skipped: str = ""
    faults: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Collection:
    """The passages of all files, and an account of every file met."""

    passages: list[Passage] = field(default_factory=list)
    files: list[FileReport] = field(default_factory=list)
    duplicates: int = 0
    short: int = 0

    @property
    def skipped(self) -> list[FileReport]:
        return [file for file in self.files if file.skipped]

    def counts(self) -> dict[str, int]:
        """What there is and what was left out, in numbers."""
        implications = sum(passage.kind == "implication" for passage in self.passages)
        return {
            "passages": len(self.passages) - implications,
            "implications": implications,
            "documents": len({passage.doc for passage in self.passages}),
            "duplicates": self.duplicates,
            "too_short": self.short,
            "skipped": len(self.skipped),
            "skipped_records": sum(len(file.faults) for file in self.files),
        }


Progress = Callable[[int, int], None]


def read_documents(paths: Sequence[Path], config: IngestConfig | None = None, strict: bool = False) -> list[Passage]:
    """The passages of documents, with a numbered warning on stderr for every file and record skipped.

    Raises `UsageError` if a path does not exist or nothing readable is left, and under `strict` for the first skipped.
    """
    found = collect(paths, config or IngestConfig(), strict)
    warn_skipped(found)
    return found.passages


def warn_skipped(found: Collection) -> None:
    """A numbered warning for each document and record skipped; then how many files there are that are no documents."""
    broken = [(file.path, file.skipped) for file in found.skipped if file.format]
    Faults(items=broken + [fault for file in found.files for fault in file.faults]).warn()
    others = Counter(name_of(Path(file.path)).suffix or file.path for file in found.skipped if not file.format)
    if others:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in others.most_common(5))
        more = ", ..." if len(others) > 5 else ""
        output.warn(f"skipped {sum(others.values())} file(s) that are no documents: {kinds}{more}")


def collect(
    paths: Sequence[Path],
    config: IngestConfig,
    strict: bool = False,
    progress: Progress | None = None,
    but: Path | None = None,
) -> Collection:
    """Read every file (`but` one: the corpus to be written may lie among them), cut it into passages, drop texts seen before.

    What `past` itself made of these documents is left out, unless it is named. A file or record that cannot be read is skipped
    with its reason, or raised under `strict`. Raises `UsageError` if a path does not exist or no passage remains.
    """
    files = [file for file in walk(paths) if but is None or os.path.realpath(file.path) != os.path.realpath(but)]
    found, names, own = Collection(), _document_names(files), made_of(paths)
    seen: set[bytes] = set()
    ids: Counter[str] = Counter()
    for done, file in enumerate(files, 1):
        report = FileReport(file.relative)
        found.files.append(report)
        if maker := own.get(os.path.realpath(file.path)):
            report.format, report.skipped = (
                "own",
                f"past made it of these documents (run {maker}); name it to read it too",
            )
            continue
        passages = _read_or_skip(file, names[file.path], config, report, strict)
        kept = [passage for passage in passages if len(passage.text) >= config.min_chars]
        found.short += len(passages) - len(kept)
        fresh = [passage for passage in kept if not _seen(passage, seen)]
        found.duplicates += len(kept) - len(fresh)
        _count(report, fresh)
        found.passages += [_named_apart(passage, ids) for passage in fresh]
        if progress:
            progress(done, len(files))
    if not found.passages:
        raise _nothing(paths, found)
    return found


def _read_or_skip(file: Found, doc: str, config: IngestConfig, report: FileReport, strict: bool) -> list[Passage]:
    """The passages of one file; none, and the reason in its report, if it cannot be read and `strict` is not set."""
    try:
        if file.problem:
            report.format = "unreadable"
            raise UsageError(file.problem)
        return _read(file.path, doc, config, report, Faults(strict, report.faults))
    except (PastError, OSError) as error:
        reason = error.message if isinstance(error, PastError) else f"{error.strerror or error}"
        if isinstance(error, PermissionError):
            report.format = report.format or "unreadable"
        report.faults.clear()  # the file as a whole is named instead
        report.skipped = reason.removeprefix(str(file.path)).lstrip(" ,:")
        if strict:
            raise UsageError(f"{file.path}: {report.skipped}", getattr(error, "hint", None) or ACCEPTED) from error
    return []


def _read(path: Path, doc: str, config: IngestConfig, report: FileReport, faults: Faults) -> list[Passage]:
    report.format = format_of(path)
    if path.stat().st_size > config.max_file_mb * 1_000_000:
        raise UsageError(f"larger than {config.max_file_mb} MB", "split it, or raise --max-file-mb")
    with unpacked(path, config.max_file_mb * 1_000_000) as plain:
        if report.format == "jsonl" and is_corpus(plain):
            report.format = "corpus"
            return read_corpus(plain, faults)
        documents = _documents(plain, report.format, faults)
    if not any(document.text.strip() for document in documents):
        raise UsageError("no text in it")
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    source = {"path": report.path, "format": report.format, "sha256": sha256}
    report.documents = len(documents)
    passages = []
    for document in documents:
        name = document.name or (f"{doc}-{document.row}" if document.row else doc)
        passages += passages_of(replace(document, title=document.title or _stem(path)), name, source, config)
    return passages


def _documents(path: Path, form: str, faults: Faults) -> Sequence[Document]:
    reader = READERS[form]
    if reader is read_records:
        return read_records(path, faults)
    try:
        return [_whole_characters(document) for document in reader(path)]
    except (PastError, OSError):
        raise
    except Exception as error:  # what the libraries behind the readers make of a broken file is not ours to list
        raise UsageError(f"cannot be read as {form}: {type(error).__name__}: {error}".rstrip(": ")) from error


def _whole_characters(document: Document) -> Document:
    """Halves of characters, as broken PDFs have them, joined where they meet and else replaced by `�`."""
    title, text = (
        part.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for part in (document.title, document.text)
    )
    marks = document.marks if len(text) == len(document.text) else ()  # else they point elsewhere now
    return replace(document, title=title, text=text, marks=marks)


def passages_of(document: Document, doc: str, source: Mapping[str, object], config: IngestConfig) -> list[Passage]:
    """A document's passages, then its implications; ids are the document's name and a number."""
    if document.row:
        source = {**source, "row": document.row}
    made = []
    for number, (start, end) in enumerate(cut(document.text, config.max_chars, document.marks), 1):
        place: dict[str, object] = {"chars": [start, end], **_begun_before(document, start)}
        place |= blocks.to_source(blocks.within(document.marks, start, end))
        if document.pages:
            place["pages"] = [sum(offset <= at for offset in document.pages) for at in (start, end - 1)]
        text = document.text[start:end]
        made.append(Passage(f"{doc}#{number}", doc, document.title, text, "passage", {**source, **place}))
    for which, completion in enumerate(document.completions[: config.implication_sets], 1):
        for number, line in enumerate(statements(completion), 1):
            name = f"{doc}#i{which}.{number}"
            made.append(Passage(name, doc, document.title, line, "implication", {**source, "set": which}))
    return made


def _begun_before(document: Document, start: int) -> dict[str, object]:
    """What a passage needs to be told that begins in the middle: the heading it stands under, the first row of its table."""
    found: dict[str, object] = {}
    for mark in document.marks:
        if mark.kind == blocks.HEADING and mark.end <= start:
            found["section"] = document.text[mark.start : mark.end]
        if mark.kind == blocks.TABLE and mark.start < start < mark.end:
            found["table_head"] = document.text[mark.start : mark.end].split("\n", 1)[0]
    return found


def _document_names(files: Sequence[Found]) -> dict[Path, str]:
    """The shortest name that tells a file from the others: its stem, else more and more of its path."""
    spellings = {
        file.path: (
            _stem(file.path),
            Path(file.relative).with_name(_stem(file.path)).as_posix(),
            file.relative,
            file.path.as_posix(),
        )
        for file in files
    }
    counts = Counter(spelling for several in spellings.values() for spelling in set(several))
    return {path: next((s for s in several if counts[s] == 1), several[-1]) for path, several in spellings.items()}


def _stem(path: Path) -> str:
    """The name without what says how it is written (and packed): guide.txt.gz is the guide, tar.1.gz the page tar.1."""
    name = name_of(path)
    return name.stem if name == path or name.suffix.lower() in SUFFIXES else name.name


def _named_apart(passage: Passage, ids: Counter[str]) -> Passage:
    """Records may bring the same name twice; ids may not."""
    ids[passage.id] += 1
    return passage if ids[passage.id] == 1 else replace(passage, id=f"{passage.id}~{ids[passage.id]}")


def _seen(passage: Passage, seen: set[bytes]) -> bool:
    """Whether this text came before; an implication says little without its title, so that counts as well."""
    text = " ".join(passage.text.split())
    if passage.kind == "implication":
        text = f"{passage.title}\0{text}"
    key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    if key in seen:
        return True
    seen.add(key)
    return False


def _count(report: FileReport, passages: Sequence[Passage]) -> None:
    report.implications = sum(passage.kind == "implication" for passage in passages)
    report.passages = len(passages) - report.implications
    report.chars = sum(len(passage.text) for passage in passages)
    report.documents = report.documents or len({passage.doc for passage in passages})


def _nothing(paths: Sequence[Path], found: Collection) -> UsageError:
    where = ", ".join(map(str, paths)) or "nothing given"
    if not found.files:
        return UsageError(f"no documents in {where}: the folder is empty", ACCEPTED)
    if len(found.skipped) == len(found.files):
        reasons = "; ".join(f"{file.path}: {file.skipped}" for file in found.skipped[:3])
        more = f"; and {len(found.skipped) - 3} more" if len(found.skipped) > 3 else ""
        return UsageError(f"nothing readable in {where}: {reasons}{more}", ACCEPTED)
    return UsageError(f"no passage of at least the shortest length in {where}", "lower --min-chars")
