"""`past ingest --tools`: the documentation of APIs as lessons, for one side or for a source and a target apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import models, narration, output, registry, runs
from ..config import IngestConfig, LessonsConfig, to_dict
from ..files import write_lines
from ._options import close, finished_before, show_run, told

if TYPE_CHECKING:
    from ..api import ChatModel
    from ..tools.learning.lessons import Lessons
    from ..tools.learning.sides import Side

FILES = {
    "corpus": "corpus.jsonl",
    "recall": "recall.jsonl",
    "queries": "queries.json",
    "test_queries": "test_queries.json",
    "own_queries": "own_queries.json",
}
"""What is written of each side, by the name of its output: to train on, to ask (`past eval`), for `past rl`, for
`past agent`, and the queries that came with the tools, if any."""


def ingest_tools(
    tools: Sequence[Path],
    category: Sequence[str],
    target: Sequence[str],
    out: Path | None,
    config: IngestConfig,
    lessons: LessonsConfig,
    flags: dict[str, Any],
    as_json: bool,
) -> None:
    """Make the lessons of the categories named and write them into a run; the figures of both sides are its metrics."""
    extra = {
        "tools": [str(path.resolve()) for path in tools],
        "category": list(category),
        "target": list(target),
        "lessons": to_dict(lessons),
        "out": str(out.absolute()) if out else "",
        "name": flags["name"],
    }
    if not flags["dry_run"]:
        record = finished_before("ingest", config, extra, flags["resume"])
        if record is not None:
            show_run(record, as_json)
            return
    from ..tools.learning.sides import sides_of

    if out and not flags["resume"]:
        runs.allowed(out, folder=False, force=flags["force"], inputs=list(tools))
    sides, notes = sides_of(tools, category, target, lessons)
    for note in notes:
        output.warn(note)
    if flags["dry_run"]:
        plan = {side.name: {"categories": list(side.categories), "apis": len(side.specs)} for side in sides}
        output.emit(plan, as_json)
        return
    from ..tools.learning.lessons import make

    with runs.start("ingest", config, extra=extra, keep_partial=False, **flags) as run:
        run.add_inputs("tools", list(tools))
        with output.progress("making lessons", "APIs") as progress, _speaker(lessons) as chat:
            made = {side.name: make(side.specs, lessons, progress, chat) for side in sides}
        for side in sides:
            _write(run, side, made[side.name], lessons, out)
        run.metrics(**{f"{side.prefix}{k}": v for side in sides for k, v in _figures(side, made[side.name]).items()})
    _report(runs.read(run.final), as_json)


@contextmanager
def _speaker(lessons: LessonsConfig) -> Iterator[ChatModel | None]:
    """The model that rephrases; None where none is named."""
    if not lessons.rephrase:
        yield None
        return
    load = registry.load("chat", lessons.rephrase_backend)
    local = getattr(load, "local", True)
    with closing(load(str(models.resolve(lessons.rephrase).path) if local else lessons.rephrase)) as chat:
        yield chat


def lesson_rows(made: Lessons, lessons: LessonsConfig) -> list[dict[str, Any]]:
    """What `past sft` trains on, whole runs last: the rows of the corpus."""
    from ..agent.examples import rows_of_runs
    from ..tools.environments.simulator import simulated
    from ..tools.learning.lessons import in_order

    return in_order([*made.rows, *rows_of_runs(made.runs, lessons, simulated)])


def _write(run: Any, side: Side, made: Lessons, lessons: LessonsConfig, out: Path | None) -> None:
    from ..tools.learning.written import write_queries

    places = {name: run.dir / f"{side.prefix}{file}" for name, file in FILES.items()}
    if out and side.name == "source":
        places["corpus"] = run.external("corpus", out)
    write_lines(places["corpus"], lesson_rows(made, lessons))
    write_lines(places["recall"], made.recall)
    write_queries(places["queries"], made.practice)
    write_queries(places["test_queries"], made.tests)
    write_queries(places["own_queries"], side.own)
    empty = {"queries": not made.practice, "test_queries": not made.tests, "own_queries": not side.own}
    for name, path in places.items():
        if empty.get(name):
            path.unlink()  # a file without queries is none that `past agent` could read
        elif not (name == "corpus" and out and side.name == "source"):
            run.add_output(f"{side.prefix}{name}", path)


def _figures(side: Side, made: Lessons) -> dict[str, Any]:
    return {
        "categories": list(side.categories),
        **made.counts(),
        "own_queries": len(side.own),
        "copies_left_out": len(side.copies),
    }


def _report(record: runs.Record, as_json: bool) -> None:
    outputs, metrics = record.outputs(), record.manifest["metrics"]
    end = narration.closing(record.manifest)

    def human() -> None:
        names = [name for name in metrics if not name.startswith("target_") and not isinstance(metrics[name], dict)]
        two = any(name.startswith("target_") for name in metrics)
        rows = [
            (name.replace("_", " "), _cell(metrics[name]), *([_cell(metrics.get(f"target_{name}"))] if two else []))
            for name in names
        ]
        output.table("", ("lessons", "source", *(["target"] if two else [])), rows, f"run {record.id} in {record.path}")
        for side in ("", "target_"):
            _note_left_out(side.rstrip("_") or "source", metrics.get(f"{side}left_out") or {})
        output.pairs(outputs)

    document = {"run": record.id, "outputs": outputs, "metrics": metrics, **told(end)}
    output.emit(document, as_json, human)
    close(end, as_json)


def _note_left_out(side: str, left_out: dict[str, int]) -> None:
    """How many candidates for a query were dropped, over all uses, by reason."""
    reasons: Counter[str] = Counter()
    for why, count in left_out.items():
        reasons[why.partition(": ")[2]] += count
    if reasons:
        shown = "; ".join(f"{why} ({count})" for why, count in reasons.most_common())
        output.note(f"{side}: {reasons.total()} candidates for a query left out: {shown}")


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
