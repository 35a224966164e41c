"""`past eval`: closed-book questions to one or several models."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import models, narration, output, runs
from ..config import EvalConfig
from ..errors import GateError, UsageError
from . import _lineage, _train
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
    show_plan,
    with_settings,
)
from ._precision import cast, loader, tell_apart
from ._retained import Measured
from ._skills import Scale, Vectors, add_inputs, adding, listed, skills

if TYPE_CHECKING:
    from ..api import ChatModel, Question
    from ..evals import QAResult

    Load = Callable[[str], ChatModel]

EXAMPLE = "Example: `past eval --model SFT=@sft --model SFT+skill=@inject --questions questions.jsonl --reference SFT`"

QUESTIONS = typer.Option("--questions", metavar="FILE", help="JSONL of question and answer(s), or SQuAD-like JSON.")
MODEL = typer.Option(
    "--model",
    metavar="[LABEL=]PATH",
    autocompletion=complete_model,
    help="Model to ask; may repeat (default: the newest run that made one).",
)
REFERENCE = typer.Option(metavar="LABEL", help="Test the others against this model (default: the first).")
PLOT = typer.Option("--plot", metavar="FILE", help="Also draw the scores with their intervals.")
MIN_F1 = typer.Option(help="Gate: exit 4 if the last model's F1 is below this.")
MIN_GAIN = typer.Option(help="Gate: exit 4 if the last model's F1 is less than this above the reference's.")


@dataclass(frozen=True)
class Candidate:
    """A model to be asked: its label, the name the user typed, and what the backend is given."""

    label: str
    name: str
    path: str


@with_settings("eval")
def command(
    questions: Annotated[Path, QUESTIONS],
    model: Annotated[list[str] | None, MODEL] = None,
    reference: Annotated[str | None, REFERENCE] = None,
    vector: Vectors = None,
    scale: Scale = 1.0,
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

    With --vector every model named is asked with those skills added in memory; no file is rewritten. Every answer is kept in the run. Differences to the reference are tested question by question, and corrected
    for the number of models.
    """
    from ..evals.plot import SUFFIXES
    from ..ingest import from_stdin, read_questions

    if plot and plot.suffix.lower() not in SUFFIXES:
        raise UsageError(f"cannot draw a {plot.suffix or 'nameless'} file", f"end --plot in {', '.join(SUFFIXES)}")
    questions = from_stdin(questions)
    asked = read_questions(questions, strict)[: config.limit or None]
    added = skills(vector, scale)
    load = adding(loader(config), config.backend, added)
    candidates = _candidates(model or [], getattr(load, "local", True))
    reference = _reference(reference, [candidate.label for candidate in candidates], min_gain)
    extra = {
        "models": [vars(c) for c in candidates],
        "questions": str(questions.resolve()),
        "reference": reference,
        "plot": str(plot.absolute()) if plot else "",
        "name": name,
        "strict": strict,
        **listed(added),
    }
    record = None if dry_run else finished_before("eval", config, extra, resume)
    if record is None:
        with runs.start(
            "eval", config, extra=extra, resume=resume, force=force, name=name, allow_stale=allow_stale, dry_run=dry_run
        ) as run:
            _add_inputs(run, candidates, extra)
            if dry_run:
                show_plan(_plan(asked, candidates, config, extra), config, sources, as_json)
                return
            _evaluate(run, config, asked, candidates, load, extra)
        record = runs.read(run.final)
    results = json.loads((record.path / "results.json").read_text(encoding="utf-8"))
    _report(record, results, config, as_json)
    _gates(results, candidates[-1].label, min_f1, min_gain, record.id)


def _report(record: runs.Record, results: dict[str, Any], config: EvalConfig, as_json: bool) -> None:
    outputs = record.outputs()
    end = narration.evaluated(results)
    document = {"run": record.id, "outputs": outputs, **results, **vars(end)}
    output.emit(document, as_json, lambda: _show(results, config.confidence))
    close(end, as_json)


def _plan(asked: list[Question], candidates: list[Candidate], config: Any, extra: dict[str, Any]) -> dict[str, Any]:
    return {
        "questions": len(asked),
        "ungradable": sum(not q.answers for q in asked),
        "backend": config.backend,
        "models": {c.label: c.path for c in candidates},
        "reference": extra["reference"],
    }


def _add_inputs(run: runs.Run, candidates: list[Candidate], extra: dict[str, Any]) -> None:
    run.add_input("questions", extra["questions"])
    for number, candidate in enumerate(candidates, 1):
        run.add_input("model" if number == 1 else f"model{number}", candidate.path, label=candidate.label)
    add_inputs(run, [(Path(path), factor) for path, factor in extra.get("vectors", [])])


def _evaluate(
    run: runs.Run, config: Any, asked: list[Question], candidates: list[Candidate], load: Load, extra: dict[str, Any]
) -> None:
    """Ask model after model, one loaded at a time; then compare, and write everything into the run."""
    from ..evals import compare

    figure = run.external("plot", Path(extra["plot"])) if extra["plot"] else None
    folder = run.dir / "answers"
    folder.mkdir(exist_ok=True)
    kept = Measured(config.retained, load, run.dir / "retained.json")
    judge = _train.judge_of(config) if config.judge_model else None
    results = {
        candidate.label: _ask(
            candidate, asked, config, load, folder / f"{number}.jsonl", kept, run, extra["strict"], judge
        )
        for number, candidate in enumerate(candidates, 1)
    }
    if judge:
        judge.close()
    too_long = sorted({name for result in results.values() for name in result.too_long})
    comparison = compare({k: v.without(too_long) for k, v in results.items()}, config, extra["reference"])
    document = comparison.to_dict() | {"too_long": too_long}
    for label, scores in document["models"].items():
        scores["retained"] = kept.found(label)
    for label, left in cast(config, {c.label: Path(c.path) for c in candidates}, extra["reference"]).items():
        document["models"][label]["cast_survival"] = left
    computed = {label: run.manifest["metrics"].get(f"precision {label}", "unknown") for label in results}
    for label, precision in computed.items():
        document["models"][label]["precision"] = precision
    tell_apart(computed)
    runs.write_json(run.dir / "results.json", document)
    run.add_output("answers", folder)
    run.add_output("results", run.dir / "results.json")
    run.metrics(**{f"f1 {label}": scores["f1"].mean for label, scores in comparison.scores.items()})
    if figure:
        from ..evals.plot import plot

        plot(comparison, figure, config.confidence)


def _ask(
    candidate: Candidate,
    asked: list[Question],
    config: Any,
    load: Load,
    transcript: Path,
    kept: Measured,
    run: runs.Run,
    strict: bool,
    judge: Any,
) -> QAResult:
    from ..evals import evaluate, finished

    done = finished(transcript, asked)
    if done is not None and kept.done(candidate.label):  # by the run that is being resumed: no need to load the model
        return done
    output.note(f"loading {candidate.label} ({candidate.name})")
    chat = load(candidate.path)
    run.metrics(**{f"precision {candidate.label}": getattr(chat, "precision", "unknown")})
    run.save()
    try:
        kept.measure(candidate.label, chat)
        with output.progress(f"asking {candidate.label}", "questions") as progress:
            return evaluate(chat, asked, config, transcript, progress, strict, judge)
    finally:
        chat.close()


def _candidates(typed: list[str], local: bool) -> list[Candidate]:
    """`[LABEL=]PATH` words, or the newest run that made a model. Raises `UsageError` if two labels are the same."""
    from ..evals import label_for

    found: list[Candidate] = []
    for word in typed or [_lineage.newest_model().name]:
        label, equals, name = word.partition("=")
        if not equals or os.sep in label or Path(word).exists():
            label, name = "", word
        path = str(models.resolve(name).path) if local else name
        owner = runs.owner_of(Path(path)) if local else None
        stage, control = (owner.stage, owner.manifest["config"].get("control", "none")) if owner else ("", "none")
        label = label or label_for(name, stage, control)
        if any(candidate.label == label for candidate in found):
            raise UsageError(f"two models are labelled {label!r}", "name them apart: --model LABEL=PATH")
        found.append(Candidate(label, name, path))
    return found


def _reference(reference: str | None, labels: list[str], min_gain: float | None) -> str | None:
    if reference is not None and reference not in labels:
        raise UsageError(f"no model labelled {reference!r}", f"labels: {', '.join(labels)}")
    reference = reference or (labels[0] if len(labels) > 1 else None)
    if min_gain is not None and reference in (None, labels[-1]):
        raise UsageError("--min-gain compares the last model with the reference", "name two, the reference first")
    return reference


def _gates(results: dict[str, Any], last: str, min_f1: float | None, min_gain: float | None, run: str) -> None:
    f1, hint = results["models"][last]["f1"]["mean"], f"every answer is kept in {run}"
    if min_f1 is not None and f1 < min_f1:
        raise GateError(f"F1 of {last} is {f1:.4f}, below --min-f1 {min_f1:g}", hint)
    if min_gain is not None and (gain := results["differences"][last]["f1"]["mean"]) < min_gain:
        raise GateError(f"{last} gains {gain:+.4f} F1, below --min-gain {min_gain:g}", hint)


def _show(results: dict[str, Any], confidence: float) -> None:
    """Scores of every model, then the differences to the reference with their p-values."""
    from ..evals import JUDGE, METRICS

    metrics = [*METRICS, *([JUDGE] if all(JUDGE in scores for scores in results["models"].values()) else [])]

    def cell(value: dict[str, Any], sign: str = "") -> str:
        if value["low"] is None:
            return f"{value['mean']:{sign}.3f}"
        return f"{value['mean']:{sign}.3f} [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}]"

    rows = [
        (label, *(cell(scores[metric]) for metric in metrics), f"{scores['tokens']:.1f}", scores["empty"])
        for label, scores in results["models"].items()
    ]
    units, documents = results["units"], results["documents"]
    caption = f"{results['questions']} questions{f' on {documents} documents' if documents else ''}, "
    caption += f"{confidence:.0%} intervals over {units}"
    if results["ungradable"]:
        caption += f"; {results['ungradable']} more without an answer to grade by were left out"
    output.table("", ("model", *metrics, "tokens", "empty"), rows, caption)
    kept = [(label, scores.get("retained")) for label, scores in results["models"].items()]
    if any(figures for _, figures in kept):
        rows = [
            (
                label,
                f"{one['perplexity'] / one['base_perplexity'] - 1:+.1%}",
                f"{one['kl']:.4f}",
                f"{one['kl_everyday']:.4f}",
            )
            for label, one in kept
            if one
        ]
        caption = "what is kept of the base: perplexity of a neutral text, KL(base || model) in nats a token"
        output.table("", ("model", "perplexity", "KL neutral", "KL everyday"), rows, caption)
    if results["differences"]:
        rows = [
            (label, metric, cell(value, "+"), f"{value['p']:.3g}", f"{value['p_holm']:.3g}")
            for label, scores in results["differences"].items()
            for metric, value in scores.items()
        ]
        tests = "sign flips" if units == "documents" else "McNemar for exact, contains and judge, sign flips for f1"
        caption = f"paired over {units}: {tests}; Holm over the models"
        output.table("", ("model", "metric", f"minus {results['reference']}", "p", "p Holm"), rows, caption)
