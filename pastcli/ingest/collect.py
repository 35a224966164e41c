"""Folders and files to passages: what was read, what was skipped and why, what was there twice."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import output, runs
from ..api import Passage
from ..config import IngestConfig
from ..errors import UsageError
from .passages import cut, statements
from .readers import ACCEPTED, READERS, Document, format_of
from .records import is_corpus, read_corpus


@dataclass
class FileReport:
    """One file: its format and what came of it, or why it was skipped."""

    path: str
    format: str = ""
    documents: int = 0
    passages: int = 0
    implications: int = 0
    chars: int = 0
    skipped: str = ""


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
        }


Progress = Callable[[int, int], None]


def read_documents(paths: Sequence[Path], config: IngestConfig | None = None) -> list[Passage]:
    """The passages of documents, with a numbered warning on stderr for every file skipped.

    Raises `UsageError` if a path does not exist or nothing readable is left.
    """
    found = collect(paths, config or IngestConfig())
    warn_skipped(found)
    return found.passages


def warn_skipped(found: Collection, most: int = 20) -> None:
    """One numbered warning a skipped document, up to `most`; then how many more, and files that are no documents."""
    broken = [file for file in found.skipped if file.format]
    for number, file in enumerate(broken[:most], 1):
        output.warn(f"skipped {number}: {file.path}: {file.skipped}")
    if len(broken) > most:
        output.warn(f"skipped {len(broken) - most} more documents", "`--json` lists all of them")
    others = Counter(Path(file.path).suffix or file.path for file in found.skipped if not file.format)
    if others:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in others.most_common(5))
        more = ", ..." if len(others) > 5 else ""
        output.warn(f"skipped {sum(others.values())} file(s) that are no documents: {kinds}{more}")


def collect(
    paths: Sequence[Path], config: IngestConfig, strict: bool = False, progress: Progress | None = None
) -> Collection:
    """Read every file, cut it into passages, drop texts seen before.

    A file that cannot be read is skipped with its reason, or raised under `strict`. Raises `UsageError` if a
    path does not exist or no passage remains.
    """
    files = list(walk(paths))
    found, seen, ids = Collection(), set(), Counter()
    names = _document_names(files)
    for done, (path, relative) in enumerate(files, 1):
        report = FileReport(relative)
        found.files.append(report)
        try:
            passages = _read(path, names[path], config, report)
        except (UsageError, OSError) as error:
            passages = []
            reason = error.message if isinstance(error, UsageError) else f"{error.strerror or error}"
            report.skipped = reason.removeprefix(str(path)).lstrip(" ,:")
            if strict:
                raise UsageError(f"{path}: {report.skipped}", getattr(error, "hint", None) or ACCEPTED) from error
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


def _read(path: Path, doc: str, config: IngestConfig, report: FileReport) -> list[Passage]:
    report.format = format_of(path)
    if path.stat().st_size > config.max_file_mb * 1_000_000:
        raise UsageError(f"larger than {config.max_file_mb} MB", "split it, or raise --max-file-mb")
    if report.format == "jsonl" and is_corpus(path):
        report.format = "corpus"
        return read_corpus(path)
    documents = READERS[report.format](path)
    if not any(document.text.strip() for document in documents):
        raise UsageError("no text in it")
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    source = {"path": report.path, "format": report.format, "sha256": sha256}
    report.documents = len(documents)
    passages = []
    for document in documents:
        name = document.name or (f"{doc}-{document.row}" if document.row else doc)
        passages += passages_of(replace(document, title=document.title or path.stem), name, source, config)
    return passages


def passages_of(document: Document, doc: str, source: dict[str, object], config: IngestConfig) -> list[Passage]:
    """A document's passages, then its implications; ids are the document's name and a number."""
    if document.row:
        source = {**source, "row": document.row}
    made = []
    for number, (start, end) in enumerate(cut(document.text, config.max_chars), 1):
        place: dict[str, object] = {"chars": [start, end]}
        if document.pages:
            place["pages"] = [sum(offset <= at for offset in document.pages) for at in (start, end - 1)]
        text = document.text[start:end]
        made.append(Passage(f"{doc}#{number}", doc, document.title, text, "passage", {**source, **place}))
    for which, completion in enumerate(document.completions[: config.implication_sets], 1):
        for number, line in enumerate(statements(completion), 1):
            name = f"{doc}#i{which}.{number}"
            made.append(Passage(name, doc, document.title, line, "implication", {**source, "set": which}))
    return made


def walk(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """(file, path relative to the root it was found under), sorted, each file once.

    Hidden files, the workspace's own runs and links back to a folder already seen are left out.
    """
    visited: set[str] = set()
    for root in map(Path, paths):
        if not root.exists():
            raise UsageError(f"no file or folder {root}", ACCEPTED)
        for file in sorted(_files(root, visited)) if root.is_dir() else [root]:
            real = os.path.realpath(file)
            if real not in visited:
                visited.add(real)
                yield file, (file.relative_to(root) if root.is_dir() else Path(file.name)).as_posix()


def _files(folder: Path, visited: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in visited or real == os.path.realpath(runs.runs_dir()):
        return
    visited.add(real)
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files(entry, visited)
        else:
            yield entry


def _document_names(files: Sequence[tuple[Path, str]]) -> dict[Path, str]:
    """The shortest name that tells a file from the others: its stem, else more and more of its path."""
    spellings = {
        path: (path.stem, Path(relative).with_suffix("").as_posix(), relative, path.as_posix())
        for path, relative in files
    }
    counts = Counter(spelling for several in spellings.values() for spelling in set(several))
    return {path: next((s for s in several if counts[s] == 1), several[-1]) for path, several in spellings.items()}


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
