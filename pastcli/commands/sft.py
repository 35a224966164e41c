"""`past sft`: put documents into a model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import models, output, runs
from ..config import SftConfig
from ..errors import UsageError
from . import _train
from ._options import AllowStale, DryRun, Force, Json, Name, Resume, Strict, already_done, show_run, with_settings

EXAMPLE = "Example: `past sft docs/ --base smol`"

DOCS = typer.Argument(
    metavar="DOCS...",
    show_default=False,
    help="Documents, folders, a corpus or prompt/completion JSONL (default: the newest corpus of the workspace).",
)
DEV = typer.Option(
    "--dev",
    metavar="FILE",
    help="Held-out texts or pairs (JSONL): their loss is measured while training runs, and the best model is the result.",
)


@with_settings("sft")
def command(
    docs: Annotated[list[Path] | None, DOCS] = None,
    dev: Annotated[Path | None, DEV] = None,
    card: _train.Card = 0.0,
    *,
    config: SftConfig,
    name: Name = "",
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    allow_stale: AllowStale = False,
    strict: Strict = False,
    config_file: Path | None = None,
) -> None:
    """Fine-tune a model on documents, so that it knows what they say.

    Each passage and each of its sentences, under the document's title, becomes a training text; texts longer than
    --max-length are split, never cut off. Weights stay float32. The result is an HF model (or LoRA adapter) in a run.
    """
    from ..ingest import from_stdin, read_pairs

    found = models.resolve(config.base)
    docs = [from_stdin(path) for path in docs or [_newest_corpus()]]
    extra = {"docs": [str(path.resolve()) for path in docs], "base": str(found.path), "name": name}
    extra |= {"dev": str(dev.resolve())} if dev else {}
    if already_done("sft", config, extra, resume, as_json):
        return
    rows = _train.sft_rows(docs, config, _train.ingest_config(config_file), strict)
    held_out = read_pairs(dev, strict) if dev else []
    if dry_run:
        _train.show_plan("sft", found, rows, config, card, as_json)
        return
    with runs.start("sft", config, extra=extra, resume=resume, force=force, name=name, allow_stale=allow_stale) as run:
        _train.add_base(run, "base", found)
        run.add_inputs("documents", [*docs, *_train.mixed(config, docs)])
        run.add_inputs("dev", [dev] if dev else [])
        result = _train.train("sft", found.path, rows, run.dir, config, run.resumed, dev=held_out)
        _train.record(run, result)
        run.metrics(examples=len(rows))
    show_run(runs.read(run.final), as_json)


def _newest_corpus() -> Path:
    record = runs.newest("ingest", output_name="corpus")
    if record is None:
        raise UsageError("no documents given, and no corpus in this workspace", "name files or folders: past sft docs/")
    output.note(f"documents: {record.output('corpus')} (run {record.id})")
    return record.output("corpus")
