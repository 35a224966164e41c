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
from . import _lineage
from ._options import TARGET, AllowStale, DryRun, Force, Json, Name, Resume, finished_before, with_settings
from ._precision import loader
from .inject import parse_vector

if TYPE_CHECKING:
    from ..api import Question
    from ..vectors.sweep import Measure

EXAMPLE = "Example: `past sweep --vector skill.safetensors --target runs/sft-2 --questions dev.jsonl --grid 0.5,1,1.5`"

QUESTIONS = typer.Option(
    "--questions", metavar="FILE", help="The development questions: not those of the final evaluation."
)
VECTOR = typer.Option("--vector", metavar="FILE[:λ]", help="A skill file; may repeat (default: the newest skill).")
METRIC = "f1"
AS_STORED = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
"""The target is measured in the type that --dtype gives the models tried: one sweep computes in one type."""


@with_settings("sweep")
def command(
    questions: Annotated[Path, QUESTIONS],
    vector: Annotated[list[str] | None, VECTOR] = None,
    target: Annotated[str | None, TARGET] = None,
    *,
    config: SweepConfig,
    name: Name = "",
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    allow_stale: AllowStale = False,
) -> None:
    """Inject a skill at several scales and see what each gains, and costs in KL to the model without it.

    With --group the scale of one part of the model at a time. A sweep that was stopped goes on with --resume.
    """
    from ..ingest import read_questions
    from ..vectors.sweep import parse_grid

    scales, asked = parse_grid(config.grid), read_questions(questions)
    if not any(question.answers for question in asked):
        raise UsageError(f"no question of {questions} has an answer", 'add an "answer" to each row')
    vectors = [parse_vector(text) for text in vector or []] or [(_lineage.newest_skill(), 1.0)]
    model = _lineage.model(target) if target else _lineage.target_for([path for path, _ in vectors])
    if dry_run:
        output.emit(
            {
                "target": str(model.path),
                "scales": [0.0, *scales],
                "groups": config.group or ["all"],
                "questions": len(asked),
                "models": 1 + len(scales) * max(1, len(config.group)),
            },
            as_json,
        )
        return
    extra = {
        "vectors": [[str(path.resolve()), factor] for path, factor in vectors],
        "target": str(model.path),
        "questions": str(questions.resolve()),
    }
    record = finished_before("sweep", config, extra, resume)
    if record is None:
        with runs.start(
            "sweep", config, extra=extra, resume=resume, force=force, name=name, allow_stale=allow_stale
        ) as run:
            run.add_input("target", model.path)
            run.add_input("questions", questions)
            run.add_inputs("vector", [path for path, _ in vectors])
            _sweep(run, config, scales, vectors, model.path, asked)
        record = runs.read(run.final)
    _show(record, as_json)


def _sweep(
    run: runs.Run,
    config: Any,
    scales: list[float],
    vectors: list[tuple[Path, float]],
    target: Path,
    asked: list[Question],
) -> None:
    """Every point, then the table, the plot and the best scale, all in the run."""
    from ..vectors.sweep import best, plot, sweep

    with output.progress("sweeping", "models") as progress:
        points = sweep(target, scales, config.group, _measure(config, vectors, target, asked), run.dir, progress)
    chosen = best(points, METRIC)
    rows = [{**vars(point), "label": point.label} for point in points]
    runs.write_json(run.dir / "sweep.json", {"metric": METRIC, "best": chosen.label, "points": rows})
    plot(points, METRIC, run.dir / "sweep.png")
    run.add_output("results", run.dir / "sweep.json")
    run.add_output("plot", run.dir / "sweep.png")
    run.metrics(best_scale=chosen.scale, best_group=chosen.group, **{f"best_{METRIC}": chosen.scores[METRIC]})


def _measure(config: Any, vectors: list[tuple[Path, float]], target: Path, asked: list[Question]) -> Measure:
    """How a point is made and judged: `inject_skill`, `evaluate` by the chat plugin, KL by the checkpoint format."""
    from ..evals import METRICS, evaluate
    from ..vectors.checks.cast import cast_survival
    from ..vectors.files.opening import format_of
    from ..vectors.inject import inject_skill
    from ..vectors.sweep import Measure

    cast = config.precision != "stored"
    precision = config.precision if cast else AS_STORED.get(config.dtype, "stored")
    load = loader(dataclasses.replace(config, precision=precision))
    settings = configs.STAGES["eval"](max_new_tokens=config.max_new_tokens, batch_size=config.batch_size)

    def make(rules: list[str], scale: float, out: Path) -> float:
        made = inject_skill(vectors, target, out, scale=scale, scales=rules, dtype=config.dtype, seed=config.seed)
        kept = cast_survival(out, target, precision) if cast else None
        return made.survival.cosine if kept is None else kept

    def ask(path: Path, label: str) -> dict[str, float]:
        chat = load(str(path))
        try:
            result = evaluate(chat, asked, settings)
        finally:
            chat.close()
        scores = {metric: result.scores(metric) for metric in METRICS}
        return {metric: sum(values) / len(values) for metric, values in scores.items()}

    form = format_of(target)
    price: Callable[[Path], float | None] = lambda path: None  # noqa: E731
    if isinstance(form, RunsModels):
        price = form.divergence(target, [qa.prompt_for(question.question) for question in asked], precision)
    return Measure(make, ask, price)


def _show(record: runs.Record, as_json: bool) -> None:
    import json

    results = json.loads((record.path / "sweep.json").read_text(encoding="utf-8"))
    outputs = record.outputs()

    def human() -> None:
        rows = [(p["group"], p["scale"], *p["scores"].values(), p["kl"], p["survival"]) for p in results["points"]]
        columns = ("group", "λ", *results["points"][0]["scores"], "KL to target", "survival")
        output.table("", columns, rows, f"best {results['metric']}: {results['best']}; plot: {outputs['plot']}")

    output.emit({"run": record.id, "outputs": outputs, **results}, as_json, human)
