"""`past study init`: from a folder of documents to a study that can be run."""

from __future__ import annotations

import dataclasses
import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import config as configs
from .. import models, output, runs, verdict
from ..config import StudyConfig
from ..errors import UsageError
from . import _lineage, _train_rows
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
    disk,
    show_plan,
    told,
    with_settings,
)
from ._study_documents import documents
from ._writing import make, writer

if TYPE_CHECKING:
    from ..api import Passage
    from ..ingest.generate import Made
    from ..study.init import Choice, Parts

EXAMPLE = "Example: `past study init manuals --minutes 30`, then `past study run`"

FOLDER = typer.Argument(
    metavar="FOLDER...",
    help="Documents of any kind `past ingest` reads: a folder, or several; one document is divided into parts of its own.",
)
OUT = typer.Option("-o", "--output", metavar="DIR", help="Where the study goes (default: FOLDER-study).")
MODEL = typer.Option(
    "--model",
    metavar="NAME",
    autocompletion=complete_model,
    help="A chat model that writes the questions (default: gaps in the documents' own sentences, by rule).",
)
SOURCE = typer.Option(
    "--source",
    metavar="PATTERN",
    help="Documents to practise on, by name or path (*.html); may repeat (default: drawn, see --share).",
)
VECTOR = typer.Option(
    "--vector", metavar="FILE", help="A skill made before, to be tried on these documents: no source, no RL."
)


@dataclass(frozen=True)
class Work:
    """What was asked for: the settings, and the skill file and source patterns, if any. `alone`: the one document whose parts
    stand for documents; '' if there are several."""

    config: StudyConfig
    name: str
    vector: Path | None
    patterns: tuple[str, ...]
    alone: str = ""

    def parts(self, passages: Sequence[Passage]) -> Parts:
        from ..study.init import divided

        skill = self.vector is not None
        return divided(passages, self.config.share, self.patterns, self.config.dev, skill)

    def write(self, folder: Path, passages: Sequence[Passage], made: Made, seeds: int, final: Path) -> Path:
        """The study into `folder`, whose paths are those it will have in `final`."""
        from ..study.init import drawn, write

        parts = self.parts(passages)
        base = _named(Path(self.config.base), final) if Path(self.config.base).exists() else self.config.base
        vector = _named(self.vector, final) if self.vector else ""
        questions = drawn(made.questions, parts, self.config.per_document)
        settings = {"base": base, "seeds": seeds, "vector": vector, "alone": self.alone}
        return write(folder, self.name, passages, parts, questions, settings)


def _named(path: Path, folder: Path) -> str:
    """A path as a study in `folder` names it: from there if both lie in this workspace, which may be moved or copied."""
    path, inside = path.resolve(), runs.workspace()
    together = path.is_relative_to(inside) and folder.is_relative_to(inside)
    return os.path.relpath(path, folder) if together else str(path)


@with_settings("study")
def command(
    folder: Annotated[list[Path], FOLDER],
    out: Annotated[Path | None, OUT] = None,
    model: Annotated[str | None, MODEL] = None,
    source: Annotated[list[str] | None, SOURCE] = None,
    vector: Annotated[str | None, VECTOR] = None,
    *,
    config: StudyConfig,
    name: Name = "",
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    strict: Strict = False,
    allow_stale: AllowStale = False,
    config_file: Path | None = None,
    sources: dict[str, str] | None = None,
) -> None:
    """Make a study of a folder: which documents are practised on (source), learnt (target) and choose the scale (dev),
    questions about them, the study file, and what running it will take.

    With --vector the question is another: does a skill made before help on these documents? Then all of them are target.
    """
    from ..ingest import from_stdin

    folder = [from_stdin(path) for path in folder]
    first = folder[0].resolve()
    out = out or Path(f"{first.stem if first.is_file() else first.name}-study")
    if source and vector:
        raise UsageError("--source and --vector exclude each other", "with a skill made before nothing is practised on")
    ingest = _train_rows.ingest_config(config_file)
    passages, alone = documents(folder, ingest, strict, bool(vector))
    base, skill = models.resolve(config.base), _lineage.skill(vector) if vector else None
    if skill:
        _check_fit(skill, base.path)
    work = Work(config, out.resolve().name.removesuffix("-study") or "study", skill, tuple(source or ()), alone)
    extra = {"docs": [str(path.resolve()) for path in folder], "model": model, "vector": str(skill or ""), "name": name}
    may = runs.Options(resume=resume, force=force, name=name, allow_stale=allow_stale, dry_run=dry_run)
    may |= {"keep_partial": False, "also": {"ingest": ingest}}
    with runs.start("study", config, extra={**extra, "source": list(work.patterns)}, **may) as run:
        run.add_inputs("documents", folder)
        run.add_input("base", base.path, model=base.name)
        if skill:
            run.add_input("vector", skill)
        place = run.external("study", out, folder=True)
        choice, plan = _chosen(work, passages)
        if dry_run:
            show_plan({**plan, "would_write": str(out)}, config, sources, as_json)
            return
        kept = _reduced(passages, choice)
        made = _questions(kept, model, config, config_file)
        file = work.write(place, kept, made, choice.seeds, out.resolve())
        facts = _facts(file, work.parts(kept), plan, choice, passages, model)
        run.metrics(**facts, parts_of=work.alone)
    _report(runs.read(run.final), out / file.name, plan, work, as_json)


def _check_fit(skill: Path, base: Path) -> None:
    """Raise `MismatchError` if a skill made before cannot be used on models of this base."""
    from ..vectors.inject import check_fit

    check_fit([skill], base)
    output.note(f"{skill} fits models grown from {base.name}")


def _reduced(passages: Sequence[Passage], choice: Choice) -> list[Passage]:
    from ..study.init import reduced

    return reduced(passages, choice)


def _questions(passages: Sequence[Passage], model: str | None, config: StudyConfig, file: Path | None) -> Made:
    """Questions with short answers on every passage: by the model, else gaps in the documents' sentences."""
    from ..ingest.generate import plan
    from ..study.init import asked_about

    settings = dataclasses.replace(configs.resolve("generate", {}, file), backend=config.backend)
    who, path = writer(model, config.backend)
    about = asked_about(passages, config.per_document)
    requests = plan(about, ["self_qa" if model else "cloze"], 1, None)
    return make(requests, settings, path or model, who)


def _chosen(work: Work, passages: Sequence[Passage]) -> tuple[Choice, dict[str, Any]]:
    """How much of the documents is used, and the plan of a study of that; questions by rule stand for those of a model."""
    from ..study.init import Choice, fitting

    made = _questions(passages, None, work.config, None)
    plans: dict[Choice, dict[str, Any]] = {}

    def cost(choice: Choice) -> float:
        if choice not in plans:
            plans[choice] = _planned(work, _reduced(passages, choice), made, choice.seeds)
        return plans[choice]["seconds_about"]

    choice = Choice(len({passage.doc for passage in passages}), 0, work.config.seeds)
    if work.config.minutes and cost(choice) > 60 * work.config.minutes:
        choice = fitting(passages, work.config.seeds, 60 * work.config.minutes, cost)
    cost(choice)
    plan = plans[choice]
    return choice, plan | disk(runs.workspace(), round(plan["disk_gb_about"] * 1e9))


def _planned(work: Work, passages: Sequence[Passage], made: Made, seeds: int) -> dict[str, Any]:
    """The plan of a study of these passages, which is made in a folder that goes again."""
    from ..study import load
    from ..study.run import plan

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(os.path.realpath(scratch)) / "study"
        return plan(load(work.write(folder, passages, made, seeds, folder)), runs.workspace())


def _facts(
    file: Path, parts: Parts, plan: dict[str, Any], choice: Choice, passages: Sequence[Passage], model: str | None
) -> dict[str, Any]:
    """What the closing words need; the parts by document, as the study itself sees them."""
    from ..study import load
    from ..study.data import NOTHING, source, target

    study = load(file)
    with tempfile.TemporaryDirectory() as scratch:
        aims = target(study, study.target, Path(scratch))
        practised = source(study, study.source, Path(scratch)) if study.source.documents else NOTHING
        dev = sorted({q.doc for q in aims.questions if aims.where[q.id] == "dev"})
        named = {"source": list(parts.source), "target": [n for n in parts.target if n not in dev], "dev": dev}
        counts = {
            "source": practised.counts["questions"],
            **{part: aims.counts.get(key, 0) for part, key in (("target", "test"), ("dev", "dev"))},
        }
        asked = {part: {"documents": named[part], "questions": counts[part]} for part in named}
    return {
        "file": file.name,
        "parts": asked,
        "seconds_about": plan["seconds_about"],
        "disk_gb_about": plan["disk_gb_about"],
        "documents": choice.documents,
        "of_documents": len({passage.doc for passage in passages}),
        "passages_each": choice.passages,
        "seeds": choice.seeds,
        "written_by": model or "rule",
    }


USES = {
    "source": "RL practises on these; the skill comes from here",
    "target": "SFT learns these; their questions measure",
    "dev": "SFT learns these too; their questions only choose the scale",
}


def _report(record: runs.Record, file: Path, plan: dict[str, Any], work: Work, as_json: bool) -> None:
    metrics = record.manifest["metrics"]
    end = verdict.studied(metrics, shlex.join(["past", "study", "run", str(file)]))
    document = {"run": record.id, "file": str(file), **metrics, "plan": plan, **told(end)}

    def human() -> None:
        rows = [
            (part, len(one["documents"]), one["questions"], USES[part])
            for part, one in metrics["parts"].items()
            if one["documents"]
        ]
        output.table("", ("part", "documents", "questions", "what for"), rows)
        for part, one in metrics["parts"].items():
            if one["documents"]:
                more = ", ..." if len(one["documents"]) > 12 else ""
                output.line(f"{', '.join(one['documents'][:12])}{more}", label=f"{part}: ")
        output.line(f"{plan['time_about']}, {plan['disk_gb_about']} GB on disk", label="it will take about: ")

    output.emit(document, as_json, human)
    if metrics["seeds"] < work.config.seeds:
        output.warn(f"the time allows one seed of {work.config.seeds}: nothing can be claimed from it")
    if not work.config.minutes and metrics["seconds_about"] > 3600:
        output.note("for a first trial on a part of it: the same command with --minutes 30 --force")
    close(end, as_json)
