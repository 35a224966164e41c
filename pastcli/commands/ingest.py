"""`past ingest`: documents to one corpus file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import narration, output, runs
from ..config import IngestConfig, LessonsConfig
from ..errors import UsageError
from ..words import counted
from ._options import (
    AllowStale,
    DryRun,
    Force,
    Json,
    Name,
    Resume,
    Strict,
    already_done,
    close,
    disk,
    show_plan,
    told,
    with_settings,
)

if TYPE_CHECKING:
    from ..ingest import Collection

EXAMPLE = "Example: `past ingest docs/ notes.pdf -o corpus.jsonl`"

PROVENANCE = 300
"""Bytes of a corpus line beside its text, about."""

COLUMNS = ("format", "files", "documents", "passages", "implications", "characters", "skipped")

DOCS = typer.Argument(
    metavar="[DOCS]...",
    show_default=False,
    help="Folders or files (txt, md, html, pdf, docx, rst, tex, ipynb, epub, man, rows with a text; also gzipped); - reads standard input.",
)
TOOLS = typer.Option(
    "--tools",
    metavar="FILE",
    help="Make lessons out of the documentation of APIs instead: a tools file or folder as `past agent` takes; may repeat.",
)
CATEGORY = typer.Option("--category", metavar="NAME", help="With --tools: only this category (the source); may repeat.")
TARGET = typer.Option(
    "--target",
    metavar="NAME",
    help="With --tools: the category of a target that shares no tool and no query with the source; may repeat.",
)
OUT = typer.Option("-o", "--output", metavar="FILE", help="The corpus (default: inside the run).")


@with_settings("ingest", also="lessons")
def command(
    docs: Annotated[list[Path] | None, DOCS] = None,
    out: Annotated[Path | None, OUT] = None,
    tools: Annotated[list[Path] | None, TOOLS] = None,
    category: Annotated[list[str] | None, CATEGORY] = None,
    target: Annotated[list[str] | None, TARGET] = None,
    *,
    config: IngestConfig,
    lessons: LessonsConfig,
    strict: Strict = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    allow_stale: AllowStale = False,
    name: Name = "",
    sources: dict[str, str] | None = None,
) -> None:
    """Read documents into passages with provenance: one corpus.jsonl for `past sft`.

    Texts are cut at paragraph and sentence ends, duplicates dropped, unreadable files skipped with their reason. With
    --tools: what teaches and tests APIs, for `past sft`, `past eval` and `past agent`; --target keeps a side apart that
    shares nothing with it.
    """
    flags = {"resume": resume, "force": force, "allow_stale": allow_stale, "dry_run": dry_run, "name": name}
    if tools and docs:
        raise UsageError("documents and --tools are different corpora", "give one of them; train on both files")
    if not tools and (category or target):
        raise UsageError("--category and --target choose among APIs", "add --tools FILE")
    if tools:
        from ._ingest_tools import ingest_tools

        ingest_tools(tools, category or [], target or [], out, config, lessons, flags, as_json)
    elif docs:
        _ingest_documents(docs, out, config, strict, flags, as_json, sources)
    else:
        raise UsageError("nothing to read", "name documents or folders, or tools files: --tools FILE")


def _ingest_documents(
    docs: list[Path],
    out: Path | None,
    config: IngestConfig,
    strict: bool,
    flags: dict[str, Any],
    as_json: bool,
    sources: dict[str, str] | None,
) -> None:
    """Read, cut, write one corpus."""
    if config.max_chars < config.min_chars:
        sizes = f"passages of {config.min_chars} to {config.max_chars} characters"
        raise UsageError(f"{sizes}: nothing fits", "max_chars may not be below min_chars")
    from ..ingest import collect, from_stdin, warn_skipped, write_corpus

    docs = [from_stdin(path) for path in docs]
    place = str(out.absolute()) if out else ""
    extra = {"docs": [str(path.resolve()) for path in docs], "out": place, "strict": strict, "name": flags["name"]}
    if not flags["dry_run"] and already_done("ingest", config, extra, flags["resume"], as_json):
        return
    if out and not flags["resume"]:
        runs.allowed(out, folder=False, force=flags["force"], inputs=docs)  # before all is read
    with output.progress("reading", "files") as progress:
        found = collect(docs, config, strict, progress, but=out)
    warn_skipped(found)
    files = [vars(file) for file in found.files]
    with runs.start("ingest", config, extra=extra, keep_partial=False, **flags) as run:
        run.add_inputs("documents", docs)
        corpus = run.external("corpus", out) if out else run.dir / "corpus.jsonl"
        if flags["dry_run"]:
            place = place or "corpus.jsonl of a new run"
            size = sum(len(passage.text.encode("utf-8", "replace")) + PROVENANCE for passage in found.passages)
            plan: dict[str, Any] = {"would_write": place, "metrics": found.counts(), "files": files}
            plan |= disk(out or runs.workspace(), size)
            show_plan(plan, config, sources, as_json, lambda: _show(found, f"would write {place}"))
            return
        write_corpus(corpus, found.passages)
        if not out:
            run.add_output("corpus", corpus)
        run.metrics(**found.counts())
    _report(runs.read(run.final), found, as_json)


def _report(record: runs.Record, found: Collection, as_json: bool) -> None:
    outputs, files = record.outputs(), [vars(file) for file in found.files]
    end = narration.closing(record.manifest)
    document = {"run": record.id, "outputs": outputs, "metrics": found.counts(), "files": files, **told(end)}
    output.emit(document, as_json, lambda: _show(found, f"corpus {outputs['corpus']}"))
    close(end, as_json)


def _show(found: Collection, caption: str) -> None:
    """One row a format; duplicates and short passages in the last line."""
    totals: dict[str, Counter[str]] = {}
    for file in found.files:
        row = totals.setdefault(file.format or "unknown", Counter())
        row.update(
            files=1,
            documents=file.documents,
            passages=file.passages,
            implications=file.implications,
            characters=file.chars,
            skipped=int(bool(file.skipped)),
        )
    rows = [(name, *(counts[column] for column in COLUMNS[1:])) for name, counts in sorted(totals.items())]
    if found.duplicates or found.short:
        caption += f"; dropped {counted(found.duplicates, 'duplicates')} and {found.short} too short"
    output.table("", COLUMNS, rows, caption=caption)
