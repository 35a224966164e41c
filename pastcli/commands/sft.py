"""`past sft`: put documents into a model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import models, output, runs
from ..config import SftConfig
from ..errors import MismatchError, UsageError
from ..hashing import hash_path
from . import _lineage, _train, _train_rows
from ._adapter_base import standing_in_as
from ._options import (
    AllowStale,
    DryRun,
    Force,
    Json,
    Name,
    Resume,
    Strict,
    already_done,
    complete_model,
    show_run,
    with_settings,
)

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
AFTER = typer.Option(
    "--after",
    metavar="MODEL",
    autocompletion=complete_model,
    help="Go on from this model, the phase before (default of adaptation: the newest encoding run). Its base stays the base.",
)


@with_settings("sft")
@standing_in_as(lambda given: given["config"].base if given["after"] else None)
def command(
    docs: Annotated[list[Path] | None, DOCS] = None,
    after: Annotated[str | None, AFTER] = None,
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
    sources: dict[str, str] | None = None,
) -> None:
    """Fine-tune a model on documents, so that it knows what they say.

    Each passage and each of its sentences, under the document's title, becomes a training text; texts longer than
    --max-length are split, never cut off. Weights stay float32. The result is an HF model (or LoRA adapter) in a run.
    Long documents are learnt in two phases: `past sft docs/ --phase encoding`, then `past sft docs/ --phase adaptation`.
    """
    if not dry_run and _train.joined(config, as_json):
        return
    from ..ingest import from_stdin, read_pairs

    base, start = _start(config, after, (sources or {}).get("base", "default") != "default")
    docs = [from_stdin(path) for path in docs or [_newest_corpus()]]
    extra = {"docs": [str(path.resolve()) for path in docs], "base": str(base.path), "name": name}
    extra |= {"after": str(start.path)} if start is not base else {}
    extra |= {"dev": str(dev.resolve())} if dev else {}
    also = {"ingest": _train_rows.ingest_config(config_file)}
    if not dry_run and already_done("sft", config, extra, resume, as_json, also):
        return
    rows = _train_rows.sft_rows(docs, config, also["ingest"], strict)
    held_out = read_pairs(dev, strict) if dev else []
    may = runs.Options(resume=resume, force=force, name=name, allow_stale=allow_stale, dry_run=dry_run, also=also)
    with runs.start("sft", config, extra=extra, **may) as run:
        _train.add_base(run, "base", base)
        if start is not base:
            _train.add_base(run, "after", start)
        run.add_inputs("documents", [*docs, *_train_rows.mixed(config, docs)])
        run.add_inputs("dev", [dev] if dev else [])
        _train.check_weights(start.path, dry_run)
        if dry_run:
            _train.show_plan("sft", start, rows, config, card, as_json, sources, strict)
            return
        result = _train.train("sft", start.path, rows, run.dir, config, run.resumed, dev=held_out, strict=strict)
        _train.record(run, result)
        run.metrics(examples=len(rows))
    show_run(runs.read(run.final), as_json)


def _start(config: SftConfig, after: str | None, named: bool) -> tuple[models.ModelRef, models.ModelRef]:
    """(base, model to start from): one and the same but for a later phase, which keeps the base of the one before.

    Raises `MismatchError` if a base is `named` as well, and it is another.
    """
    if after is None and config.phase != "adaptation":
        named_base = models.resolve(config.base)
        return named_base, named_base
    start = models.resolve(after) if after else _lineage.newest_encoded()
    base = _lineage.origin(start)
    if base is None and not named:
        raise UsageError(f"cannot tell which base {start.path} goes back to", "name it with --base MODEL")
    if base is None:
        return models.resolve(config.base), start
    if named and hash_path(models.resolve(config.base).path) != hash_path(base.path):
        raise MismatchError(
            f"{start.name} began from {base.path}, not from --base {config.base}", "leave --base out: it is remembered"
        )
    return base, start


def _newest_corpus() -> Path:
    record = runs.newest("ingest", output_name="corpus")
    if record is None:
        raise UsageError("no documents given, and no corpus in this workspace", "name files or folders: past sft docs/")
    made = record.made("corpus")
    output.note(f"documents: {made} (run {record.id})")
    return made
