"""`past sweep`: the scale λ, chosen on a development set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import config as configs
from .. import output, qa, runs
from ..api import RunsModels
from ..config import SweepConfig
from ..errors import UsageError
from . import _adapter_base, _lineage
from . import _estimates as estimates
from ._adapter_base import AdapterBase, as_typed, standing_in_as
from ._loading import check_model
from ._options import (
    TARGET,
    AllowStale,
    DryRun,
    Force,
    Json,
    Name,
    Resume,
    Strict,
    disk,
    finished_before,
    show_plan,
    with_settings,
)
from ._precision import loader
from .inject import parse_vector

if TYPE_CHECKING:
    from ..api import ChatModel, Question
    from ..vectors.sweep import Measure

EXAMPLE = "Example: `past sweep --vector skill.safetensors --target runs/sft-2 --questions dev.jsonl --grid 0.5,1,1.5`"

QUESTIONS = typer.Option(
    "--questions", metavar="FILE", help="Development questions with answers: not those of the final evaluation."
)
UNLABELLED = typer.Option(
    "--unlabelled",
    metavar="FILE",
    help="Questions, answers not looked at: choose λ by how far sampled answers agree and how well the questions are read.",
)
VECTOR = typer.Option("--vector", metavar="FILE[:λ]", help="A skill file; may repeat (default: the newest skill).")
METRIC = "f1"
AS_STORED = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
"""The target is measured in the type that --dtype gives the models tried: one sweep computes in one type."""


@with_settings("sweep")
@standing_in_as(as_typed)
def command(
    questions: Annotated[Path | None, QUESTIONS] = None,
    unlabelled: Annotated[Path | None, UNLABELLED] = None,
    vector: Annotated[list[str] | None, VECTOR] = None,
    target: Annotated[str | None, TARGET] = None,
    base: AdapterBase = None,
    *,
    config: SweepConfig,
    name: Name = "",
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    allow_stale: AllowStale = False,
    strict: Strict = False,
    sources: dict[str, str] | None = None,
) -> None:
    """Inject a skill at several scales and see what each gains, and costs in KL to the model without it.

    With --group the scale of one part of the model at a time; with --unlabelled a choice that needs no answers (with both
    files, how far the two choices lie apart). A sweep that was stopped goes on with --resume.
    """
    from ..vectors.inject import check_fit
    from ..vectors.sweep import parse_grid

    scales, asked = parse_grid(config.grid), _read(questions, unlabelled, strict)
    vectors = [parse_vector(text) for text in vector or []] or [(_lineage.newest_skill(), 1.0)]
    model = _lineage.model(target) if target else _lineage.target_for([path for path, _ in vectors])
    extra = {
        "vectors": [[str(path.resolve()), factor] for path, factor in vectors],
        "target": str(model.path),
        **{kind: str(path.resolve()) for kind, path in _files(questions, unlabelled).items()},
        **_adapter_base.listed(base),
    }
    record = None if dry_run else finished_before("sweep", config, extra, resume)
    if record is None:
        may = runs.Options(resume=resume, force=force, name=name, allow_stale=allow_stale, dry_run=dry_run)
        with runs.start("sweep", config, extra=extra, **may) as run:
            run.add_input("target", model.path)
            _adapter_base.add_input(run, base)
            for kind, path in _files(questions, unlabelled).items():
                run.add_input(kind, path)
            run.add_inputs("vector", [path for path, _ in vectors])
            check_fit([path for path, _ in vectors], model.path)
            check_model(loader(config), str(model.path))
            if dry_run:
                show_plan(_plan(config, scales, vectors, model.path, asked), config, sources, as_json)
                return
            _sweep(run, config, scales, vectors, model.path, asked)
        record = runs.read(run.final)
    _show(record, as_json)


def _plan(
    config: SweepConfig,
    scales: list[float],
    vectors: list[tuple[Path, float]],
    target: Path,
    asked: dict[str, list[Question]],
) -> dict[str, Any]:
    """What would be tried, and what it takes."""
    models = 1 + len(scales) * max(1, len(config.group))
    each = len(asked.get("questions", ())) + config.samples * len(asked.get("unlabelled", ()))
    return {
        "target": str(target),
        "scales": [0.0, *scales],
        "groups": config.group or ["all"],
        **{kind: len(rows) for kind, rows in asked.items()},
        "models": models,
        **estimates.asking([target] * models, each, config.max_new_tokens, config.backend),
        **disk(runs.workspace(), runs.size_of(target)),
    }


def _files(questions: Path | None, unlabelled: Path | None) -> dict[str, Path]:
    given = {"questions": questions, "unlabelled": unlabelled}
    return {kind: path for kind, path in given.items() if path is not None}


def _read(questions: Path | None, unlabelled: Path | None, strict: bool) -> dict[str, list[Question]]:
    """The questions of each kind that was given."""
    from ..ingest import read_questions

    found = {kind: read_questions(path, strict) for kind, path in _files(questions, unlabelled).items()}
    if not found:
        raise UsageError("nothing to choose λ by", "name development questions: --questions FILE, or --unlabelled FILE")
    if questions is not None and not any(question.answers for question in found["questions"]):
        raise UsageError(
            f"no question of {questions} has an answer", 'add an "answer" to each row, or choose without: --unlabelled'
        )
    return found


def _sweep(
    run: runs.Run,
    config: SweepConfig,
    scales: list[float],
    vectors: list[tuple[Path, float]],
    target: Path,
    asked: dict[str, list[Question]],
) -> None:
    """Every point, then the choice, the table and the plots, all in the run."""
    from ..vectors.sweep import best, front, plot, plot_front, sweep, unlabelled_choice

    with output.progress("sweeping", "models") as progress:
        points = sweep(target, scales, config.group, _measure(config, vectors, target, asked), run.dir, progress)
    results: dict[str, Any] = {}
    if "unlabelled" in asked:
        chosen = unlabelled_choice(points)
        results |= {"chosen_without_labels": chosen.label, "front": [point.label for point in front(points)]}
        plot_front(points, chosen, run.dir / "front.png")
        run.add_output("front", run.dir / "front.png")
        run.metrics(unlabelled_scale=chosen.scale, unlabelled_group=chosen.group)
    if "questions" in asked:
        top = best(points, METRIC)
        results |= {"metric": METRIC, "best": top.label}
        results |= {"lost_without_labels": top.scores[METRIC] - chosen.scores[METRIC]} if "unlabelled" in asked else {}
        plot(points, METRIC, run.dir / "sweep.png")
        run.add_output("plot", run.dir / "sweep.png")
        run.metrics(best_scale=top.scale, best_group=top.group, **{f"best_{METRIC}": top.scores[METRIC]})
    rows = [{**vars(point), "label": point.label} for point in points]
    runs.write_json(run.dir / "sweep.json", {**results, "points": rows})
    run.add_output("results", run.dir / "sweep.json")


def _measure(
    config: SweepConfig, vectors: list[tuple[Path, float]], target: Path, asked: dict[str, list[Question]]
) -> Measure:
    """How a point is made and judged: `inject_skill`, the chat plugin's answers, KL by the checkpoint format."""
    from ..vectors.checks.cast import cast_survival
    from ..vectors.files.opening import format_of
    from ..vectors.inject import inject_skill
    from ..vectors.sweep import Measure

    cast = config.precision != "stored"
    precision = config.precision if cast else AS_STORED.get(config.dtype, "stored")
    load = loader(dataclasses.replace(config, precision=precision))

    def make(rules: list[str], scale: float, out: Path) -> float:
        made = inject_skill(vectors, target, out, scale=scale, scales=rules, dtype=config.dtype, seed=config.seed)
        kept = cast_survival(out, target, precision) if cast else None
        return made.survival.cosine if kept is None else kept

    def ask(path: Path, label: str) -> dict[str, float]:
        chat = load(str(path))
        try:
            return _scores(chat, config, asked)
        finally:
            chat.close()

    form = format_of(target)
    price: Callable[[Path], float | None] = lambda path: None  # noqa: E731
    if isinstance(form, RunsModels):
        prompts = [qa.prompt_for(question.question) for question in next(iter(asked.values()))]
        price = form.divergence(target, prompts, precision)
    return Measure(make, ask, price)


def _scores(chat: ChatModel, config: SweepConfig, asked: dict[str, list[Question]]) -> dict[str, float]:
    """Means over the questions: of the metrics with answers, of what needs none without."""
    from ..evals import METRICS, evaluate
    from ..evals.consistency import unlabelled

    found: dict[str, float] = {}
    if "questions" in asked:
        settings = configs.STAGES["eval"](max_new_tokens=config.max_new_tokens, batch_size=config.batch_size)
        result = evaluate(chat, asked["questions"], settings)
        for metric in METRICS:
            values = result.scores(metric)
            found[metric] = sum(values) / len(values)
    if "unlabelled" in asked:
        texts = [question.question for question in asked["unlabelled"]]
        measured = unlabelled(chat, texts, config.samples, config.temperature, config.max_new_tokens, config.seed)
        found |= vars(measured)
    return found


def _show(record: runs.Record, as_json: bool) -> None:
    import json

    results = json.loads((record.path / "sweep.json").read_text(encoding="utf-8"))
    outputs = record.outputs()

    def human() -> None:
        rows = [(p["group"], p["scale"], *p["scores"].values(), p["kl"], p["survival"]) for p in results["points"]]
        columns = ("group", "λ", *results["points"][0]["scores"], "KL to target", "survival")
        output.table("", columns, rows, "; ".join(_choices(results)))
        for name in ("plot", "front"):
            if name in outputs:
                output.note(f"{name}: {outputs[name]}")

    output.emit({"run": record.id, "outputs": outputs, **results}, as_json, human)


def _choices(results: dict[str, Any]) -> list[str]:
    """What was chosen, and by what."""
    said = []
    if "best" in results:
        said.append(f"best {results['metric']}: {results['best']}")
    if "chosen_without_labels" in results:
        said.append(f"without labels: {results['chosen_without_labels']} (on the front: {', '.join(results['front'])})")
    if "lost_without_labels" in results:
        said.append(f"that loses {results['lost_without_labels']:.3f} {results['metric']}")
    return said
