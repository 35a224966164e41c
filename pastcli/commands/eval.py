"""`past eval`: closed-book questions to one or several models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import output, runs, verdict
from ..config import EvalConfig
from ..errors import GateError, UsageError
from ._adapter_base import AdapterBase, as_typed, standing_in_as
from ._eval_job import Job
from ._eval_models import BASELINES, Baseline, candidates
from ._options import (
    AllowStale,
    DryRun,
    Force,
    Json,
    Name,
    Resume,
    Strict,
    close,
    complete_model,
    finished_before,
    is_finite,
    show_plan,
    told,
    with_settings,
)
from ._precision import loader
from ._skills import Scale, Vectors, adding, listed, skills

EXAMPLE = "Example: `past eval --model SFT=@sft --model SFT+skill=@inject --questions questions.jsonl --reference SFT`"

QUESTIONS = typer.Option("--questions", metavar="FILE", help="JSONL of question and answer(s), or SQuAD-like JSON.")
MODEL = typer.Option(
    "--model",
    metavar="[LABEL=]PATH",
    autocompletion=complete_model,
    help="Model to ask; may repeat (default: the newest run that made one).",
)
REFERENCE = typer.Option(metavar="LABEL", help="Test the others against this model (default: the first).")
BASELINE = typer.Option(
    "--baseline",
    metavar="|".join(BASELINES),
    help="Also ask the base model with the best passages of --corpus (BM25) before each question: why not RAG?",
)
CORPUS = typer.Option(
    "--corpus",
    metavar="DOCS",
    help="Documents the baseline looks things up in; may repeat (default: the newest corpus).",
)
READER = typer.Option(
    "--baseline-model",
    metavar="NAME",
    autocompletion=complete_model,
    help="The model that reads the passages (default: the base of the models asked).",
)
PLOT = typer.Option("--plot", metavar="FILE", help="Also draw the scores with their intervals.")
MIN_F1 = typer.Option(callback=is_finite, help="Gate: exit 4 if the last model's F1 is below this.")
MIN_GAIN = typer.Option(
    callback=is_finite, help="Gate: exit 4 if the last model's F1 is less than this above the reference's."
)


@with_settings("eval")
@standing_in_as(as_typed)
def command(
    questions: Annotated[Path, QUESTIONS],
    model: Annotated[list[str] | None, MODEL] = None,
    reference: Annotated[str | None, REFERENCE] = None,
    baseline: Annotated[str | None, BASELINE] = None,
    corpus: Annotated[list[Path] | None, CORPUS] = None,
    baseline_model: Annotated[str | None, READER] = None,
    vector: Vectors = None,
    scale: Scale = 1.0,
    base: AdapterBase = None,
    *,
    config: EvalConfig,
    plot: Annotated[Path | None, PLOT] = None,
    min_f1: Annotated[float | None, MIN_F1] = None,
    min_gain: Annotated[float | None, MIN_GAIN] = None,
    name: Name = "",
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    allow_stale: AllowStale = False,
    strict: Strict = False,
    sources: dict[str, str] | None = None,
) -> None:
    """Ask models questions without the documents: exact match, contains and token F1, with intervals and paired tests.

    With --vector every model named is asked with those skills added in memory; no file is rewritten. Every answer is kept in the run. Differences to the reference are tested question by question, and corrected for the number of models.
    """
    from ..evals import with_answers
    from ..ingest import from_stdin, read_questions

    _check_plot(plot)
    wanted = Baseline(baseline, corpus or (), baseline_model)
    questions = from_stdin(questions)
    asked = read_questions(questions, strict)[: config.limit or None]
    with_answers(asked)
    added, plain = skills(vector, scale), loader(config)
    load = adding(plain, config.backend, added)
    local = getattr(load, "local", True)
    found = candidates(model or [], local, added)
    reference = _reference(reference, [candidate.label for candidate in found], min_gain)
    documents = wanted.documents() if baseline else []
    if baseline:
        found.append(wanted.candidate(asked, found, documents, config, local))
    job = Job(config, asked, found, load, plain, questions, documents, reference, plot, strict)
    extra = {**job.key(), "name": name, **listed(added, base)}
    record = None if dry_run else finished_before("eval", config, extra, resume)
    if record is None:
        may = runs.Options(resume=resume, force=force, name=name, allow_stale=allow_stale, dry_run=dry_run)
        with runs.start("eval", config, extra=extra, **may) as run:
            job.begin(run, added, base)
            figure = run.external("plot", plot) if plot else None
            if dry_run:
                return show_plan(job.plan(), config, sources, as_json)
            job.evaluate(run, figure)
        record = runs.read(run.final)
    results = json.loads((record.path / "results.json").read_text(encoding="utf-8"))
    _report(record, results, config, as_json)
    _gates(results, job.last, min_f1, min_gain, record.id)


def _check_plot(plot: Path | None) -> None:
    from ..evals.plot import SUFFIXES

    if plot and plot.suffix.lower() not in SUFFIXES:
        raise UsageError(f"cannot draw a {plot.suffix or 'nameless'} file", f"end --plot in {', '.join(SUFFIXES)}")


def _reference(reference: str | None, labels: list[str], min_gain: float | None) -> str | None:
    if reference is not None and reference not in labels:
        raise UsageError(f"no model labelled {reference!r}", f"labels: {', '.join(labels)}")
    reference = reference or (labels[0] if len(labels) > 1 else None)
    if min_gain is not None and reference in (None, labels[-1]):
        raise UsageError("--min-gain compares the last model with the reference", "name two, the reference first")
    return reference


def _report(record: runs.Record, results: dict[str, Any], config: EvalConfig, as_json: bool) -> None:
    from ._eval_show import show

    end = verdict.evaluated(results, record.id)
    document = {"run": record.id, "outputs": record.outputs(), **results, **told(end)}
    output.emit(document, as_json, lambda: show(results, config.confidence))
    close(end, as_json)


def _gates(results: dict[str, Any], last: str, min_f1: float | None, min_gain: float | None, run: str) -> None:
    f1, hint = results["models"][last]["f1"]["mean"], f"every answer is kept in {run}"
    if min_f1 is not None and f1 < min_f1:
        raise GateError(f"F1 of {last} is {f1:.4f}, below --min-f1 {min_f1:g}", hint)
    if min_gain is not None and (gain := results["differences"][last]["f1"]["mean"]) < min_gain:
        raise GateError(f"{last} gains {gain:+.4f} F1, below --min-gain {min_gain:g}", hint)
