"""`past distill`: the K rounds that make a skill vector content-free."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import api, models, output, runs
from .. import config as configs
from ..config import DistillConfig
from ..errors import UsageError
from . import _train
from ._options import (
    AllowStale,
    DryRun,
    Force,
    Json,
    Name,
    Resume,
    Strict,
    already_done,
    option,
    show_run,
    with_settings,
)

EXAMPLE = "Example: `past distill docs/source --questions questions.jsonl --base smol --rounds 2 -o skill.safetensors`"

SOURCE = typer.Argument(metavar="SOURCE...", help="Documents, folders or a corpus of the source domain.")
QUESTIONS = typer.Option(
    "--questions", metavar="FILE", help="Questions with answers; `doc` names the document of each."
)
OUT = typer.Option("-o", "--output", metavar="FILE", help="The skill file (default: in the run).")


@dataclass(frozen=True)
class Part:
    """One round's share of the source: its documents' passages and the questions about them."""

    passages: list[api.Passage]
    questions: list[api.Question]


@with_settings("distill")
def command(
    source: Annotated[list[Path], SOURCE],
    questions: Annotated[Path | None, QUESTIONS] = None,
    base: Annotated[str | None, option("sft", "base")] = None,
    *,
    config: DistillConfig,
    out: Annotated[Path | None, OUT] = None,
    name: Name = "",
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    allow_stale: AllowStale = False,
    strict: Strict = False,
    config_file: Path | None = None,
) -> None:
    """Distil a skill in K rounds on disjoint parts of a source: SFT from the base, plus the last skill, then GRPO.

    Each round's skill is what its RL model has over its SFT model, so the skill accumulates and what differs between
    the parts washes out. Settings of the stages come from [sft] and [rl] in past.toml. A killed run resumes where it was.
    """
    sft = configs.resolve("sft", {"base": base}, config_file)
    rl = configs.resolve("rl", {}, config_file)
    _check(sft, rl, questions)
    assert questions is not None, "`_check` refuses none"
    from ..ingest import from_stdin, read_documents, read_questions

    source, questions = [from_stdin(path) for path in source], from_stdin(questions)
    found = models.resolve(sft.base)
    extra = {
        "source": [str(path.resolve()) for path in source],
        "questions": str(questions.resolve()),
        "base": str(found.path),
        "out": str(out.absolute()) if out else "",
        "name": name,
    }
    also = {"sft": sft, "rl": rl, "ingest": _train.ingest_config(config_file)}
    if not dry_run and already_done("distill", config, extra, resume, as_json, also):
        return
    rewards = _train.rewards_of(rl)
    passages = read_documents(source, also["ingest"], strict)
    parts = split(passages, read_questions(questions, strict), config)
    may = runs.Options(resume=resume, force=force, name=name, allow_stale=allow_stale, dry_run=dry_run)
    may["also"] = also
    with runs.start("distill", config, extra=extra, **may) as run:
        _train.add_base(run, "base", found)
        run.add_input("questions", questions)
        run.add_inputs("documents", source)
        destination = run.external("skill", out) if out else run.dir / "skill.safetensors"
        if dry_run:
            _show_plan(parts, sft, rl, as_json)
            return
        skill: Path | None = None
        for number, part in enumerate(parts, 1):
            skill = _round(run, number, part, skill, found, (sft, rl), rewards, source)
        assert skill is not None, "there is at least one round"
        _keep(run, skill, destination, len(parts))
    show_run(runs.read(run.final), as_json)


def _check(sft: configs.SftConfig, rl: configs.RlConfig, questions: Path | None) -> None:
    if questions is None:
        raise UsageError("no questions given", "name a file: past distill docs/ --questions questions.jsonl")
    if sft.phase:
        raise UsageError("the rounds of distill have one SFT each", "leave phase out of [sft]")
    if max(sft.machines, rl.machines) > 1:
        raise UsageError("distill runs on one machine", "over several run `past sft`, `past rl` and `past extract`")


def _show_plan(parts: list[Part], sft: configs.SftConfig, rl: configs.RlConfig, as_json: bool) -> None:
    sizes = [{"passages": len(part.passages), "questions": len(part.questions)} for part in parts]
    output.emit({"would_train": sft.base, "rounds": sizes, "rl_steps": rl.steps * len(parts)}, as_json)


def _keep(run: runs.Run, skill: Path, destination: Path, rounds: int) -> None:
    """The last round's skill is the result; what the rounds left behind goes."""
    shutil.copyfile(skill, destination)
    if destination.is_relative_to(run.dir):
        run.add_output("skill", destination)
    for number in range(1, rounds + 1):
        shutil.rmtree(run.dir / f"round{number}")


def split(
    passages: Sequence[api.Passage], questions: Sequence[api.Question], config: configs.DistillConfig
) -> list[Part]:
    """K parts of whole documents, of like size, drawn by seed; each question goes with its document."""
    documents = sorted({passage.doc for passage in passages})
    about = {question.doc for question in questions}
    if config.rounds < 1:
        raise UsageError(f"rounds must be at least 1, not {config.rounds}")
    if strangers := about - set(documents):
        raise UsageError(
            f"{len(strangers)} documents of the questions are not in the source, first {sorted(strangers)[0]!r}",
            f"the source has {', '.join(documents[:5])}; set `doc` of each question to one of them",
        )
    asked = sorted(about)
    if len(asked) < config.rounds:
        raise UsageError(f"{len(asked)} documents with questions cannot make {config.rounds} rounds", "lower --rounds")
    rest = [name for name in documents if name not in about]
    generator = random.Random(config.seed)
    generator.shuffle(asked)
    generator.shuffle(rest)
    order = asked + rest
    parts = []
    for index in range(config.rounds):
        names = set(order[index :: config.rounds])
        parts.append(Part([p for p in passages if p.doc in names], [q for q in questions if q.doc in names]))
    return parts


def _round(
    run: runs.Run,
    number: int,
    part: Part,
    last: Path | None,
    base: models.ModelRef,
    settings: tuple[configs.SftConfig, configs.RlConfig],
    rewards: Sequence[tuple[str, float, api.Reward]],
    sources: Sequence[Path],
) -> Path:
    """METHOD 2, one round: SFT(base, D_k) + v_{k-1} -> GRPO -> v_k = RL - SFT. Finished stages are not done again."""
    from ..ingest import read_pairs
    from ..vectors import extract_skill, inject_skill

    sft, rl = settings
    folder, name = run.dir / f"round{number}", f"round {number}"
    skill = folder / "skill.safetensors"
    if skill.is_file():
        return skill
    rows = _train.document_rows(part.passages, sft) + [
        row for path in _train.mixed(sft, sources) for row in read_pairs(path)
    ]
    before = _stage(run, folder / "sft", "sft", base.path, rows, sft, label=f"{name} sft")
    start = before
    if last is not None:
        start = folder / "init"
        if not start.is_dir():
            half = folder / ".init"
            shutil.rmtree(half, ignore_errors=True)
            inject_skill([(last, 1.0)], before, half)
            half.rename(start)
    after = _stage(
        run, folder / "rl", "rl", start, _train.rl_rows(part.questions, name), rl, rewards=rewards, label=f"{name} rl"
    )
    made = extract_skill(before, after, folder / ".skill.safetensors", parents=run.parents())
    run.metrics(**{f"round{number}_norm": made.norm})
    run.save()
    (folder / ".skill.safetensors").rename(skill)
    return skill


def _stage(
    run: runs.Run,
    folder: Path,
    stage: str,
    model: Path,
    rows: list[dict[str, Any]],
    config: Any,
    *,
    label: str,
    rewards: Sequence[tuple[str, float, api.Reward]] = (),
) -> Path:
    """The model of one training, or of the same training finished before an interruption."""
    note = folder / "result.json"
    if note.is_file():
        return folder / json.loads(note.read_text(encoding="utf-8"))["made"]
    folder.mkdir(parents=True, exist_ok=True)
    result = _train.train(stage, model, rows, folder, config, run.resumed, rewards, label)
    figures = {"loss": _train.mean(result.log, "loss", 5), "reward": _train.mean(result.log, "reward", 5)}
    run.metrics(**{f"{label.replace(' ', '_')}_{key}": value for key, value in figures.items() if value is not None})
    run.save()
    _train.name_base(run, result)
    runs.write_json(note, {"made": result.path.name})
    return result.path
