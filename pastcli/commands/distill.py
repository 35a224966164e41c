"""`past distill`: the K rounds that make a skill vector content-free."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import api, models, output, runs
from .. import config as configs
from ..config import DistillConfig
from ..errors import UsageError
from . import _distill_parts, _rl_tools, _train, _train_rows
from ._distill_parts import Work
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

SOURCE = typer.Argument(
    metavar="[SOURCE...]",
    help="Documents, folders or a corpus of the source domain. With --tools: files of pairs or whole runs that every round learns.",
)
QUESTIONS = typer.Option(
    "--questions", metavar="FILE", help="Questions with answers; `doc` names the document of each."
)
TOOLS = typer.Option(
    "--tools", metavar="FILE", help="Instead of documents: tools to learn and to call, with or without queries."
)
OUT = typer.Option("-o", "--output", metavar="FILE", help="The skill file (default: in the run).")


@with_settings("distill")
def command(
    source: Annotated[list[Path] | None, SOURCE] = None,
    questions: Annotated[Path | None, QUESTIONS] = None,
    tools: Annotated[Path | None, TOOLS] = None,
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
    the parts washes out. With --tools a part is a set of APIs: SFT on their documentation (and on the files named), RL on episodes of calls. Settings
    of the stages come from [sft], [rl] and [lessons] in past.toml. A killed run resumes where it was.
    """
    sft = configs.resolve("sft", {"base": base}, config_file)
    rl = configs.resolve("rl", {}, config_file)
    lessons = configs.resolve("lessons", {}, config_file)
    from ..ingest import from_stdin

    source = [from_stdin(path) for path in source or []]
    questions = from_stdin(questions) if questions is not None else None
    _check(sft, rl, source, questions, tools)
    found = models.resolve(sft.base)
    files = {"questions": questions, "tools": tools}
    extra = _named(source, files, out, name, found)
    also = {
        "sft": sft,
        "rl": rl,
        **({"lessons": lessons} if tools else {"ingest": _train_rows.ingest_config(config_file)}),
    }
    if not dry_run and already_done("distill", config, extra, resume, as_json, also):
        return
    rewards = _train.rewards_of(rl, episodes=tools is not None)
    if tools is not None:
        rounds = _distill_parts.of_tools(tools, config, rl, lessons, also=source)
    else:
        rounds = _of_documents(source, questions, config, sft, also["ingest"], strict)
    may = runs.Options(resume=resume, force=force, name=name, allow_stale=allow_stale, dry_run=dry_run)
    may["also"] = also
    with runs.start("distill", config, extra=extra, **may) as run:
        _train.add_base(run, "base", found)
        for key, path in files.items():
            run.add_inputs(key, [path] if path is not None else [])
        run.add_inputs("documents", source)
        destination = run.external("skill", out) if out else run.dir / "skill.safetensors"
        _train.check_weights(found.path, dry_run)
        if dry_run:
            _show_plan(rounds, sft, rl, as_json)
            return
        _all_rounds(run, rounds, found, (sft, rl), rewards, destination)
    show_run(runs.read(run.final), as_json)


def _named(
    source: list[Path], files: dict[str, Path | None], out: Path | None, name: str, base: models.ModelRef
) -> dict[str, Any]:
    """What the user named, as a run remembers it."""
    return {
        "source": [str(path.resolve()) for path in source],
        **{key: str(path.resolve()) for key, path in files.items() if path is not None},
        "base": str(base.path),
        "out": str(out.absolute()) if out else "",
        "name": name,
    }


def _of_documents(
    source: list[Path],
    questions: Path | None,
    config: DistillConfig,
    sft: configs.SftConfig,
    ingest: configs.IngestConfig,
    strict: bool,
) -> list[Work]:
    from ..ingest import read_documents, read_questions

    assert questions is not None, "`_check` refuses none"
    parts = _distill_parts.split(read_documents(source, ingest, strict), read_questions(questions, strict), config)
    return _distill_parts.of_documents(parts, sft, source)


def _all_rounds(
    run: runs.Run,
    rounds: list[Work],
    base: models.ModelRef,
    settings: tuple[configs.SftConfig, configs.RlConfig],
    rewards: Sequence[tuple[str, float, api.Reward]],
    destination: Path,
) -> None:
    skill: Path | None = None
    for number, work in enumerate(rounds, 1):
        skill = _round(run, number, work, skill, base, settings, rewards)
    assert skill is not None, "there is at least one round"
    _keep(run, skill, destination, len(rounds), base.path)


def _check(
    sft: configs.SftConfig, rl: configs.RlConfig, source: list[Path], questions: Path | None, tools: Path | None
) -> None:
    from ..ingest import sniff

    if tools is not None and (questions is not None or any(sniff(path) != "pairs" for path in source)):
        raise UsageError(
            "--tools stands instead of documents and --questions",
            "beside it there may be files of pairs or of whole runs, which every round learns as well",
        )
    if tools is None and questions is None:
        raise UsageError(
            "no questions given",
            "name a file: past distill docs/ --questions questions.jsonl, or past distill --tools toolbench.json",
        )
    if tools is None and not source:
        raise UsageError("no documents given", "name them: past distill docs/ --questions questions.jsonl")
    if sft.phase:
        raise UsageError("the rounds of distill have one SFT each", "leave phase out of [sft]")
    if max(sft.machines, rl.machines) > 1:
        raise UsageError("distill runs on one machine", "over several run `past sft`, `past rl` and `past extract`")
    _train.refuse("sft", sft)
    _train.refuse("rl", rl, episodes=tools is not None)


def _show_plan(rounds: list[Work], sft: configs.SftConfig, rl: configs.RlConfig, as_json: bool) -> None:
    sizes = [work.sizes for work in rounds]
    output.emit({"would_train": sft.base, "rounds": sizes, "rl_steps": rl.steps * len(rounds)}, as_json)


LOGS = ("log.jsonl", "rollouts.jsonl")


def _keep(run: runs.Run, skill: Path, destination: Path, rounds: int, layout: Path) -> None:
    """The last round's skill is the result. Of every round its own skill and the logs of its trainings stay, in `rounds/`;
    the models go. The cosines between the rounds say how much of the skill is not of one part's content."""
    from ..vectors.probe.drift import cosines

    shutil.copyfile(skill, destination)
    if destination.is_relative_to(run.dir):
        run.add_output("skill", destination)
    kept = run.dir / "rounds"
    skills = []
    for number in range(1, rounds + 1):
        folder = run.dir / f"round{number}"
        for stage in ("sft", "rl"):
            (kept / f"{number}" / stage).mkdir(parents=True, exist_ok=True)
            for name in LOGS:
                if (folder / stage / name).is_file():
                    shutil.copyfile(folder / stage / name, kept / f"{number}" / stage / name)
        skills.append(kept / f"{number}" / "skill.safetensors")
        shutil.copyfile(folder / "skill.safetensors", skills[-1])
    for (first, second), found in cosines(skills, layout).items():
        run.metrics(**{f"cosine_round{first + 1}_round{second + 1}": found})
    run.add_output("rounds", kept)
    for number in range(1, rounds + 1):
        shutil.rmtree(run.dir / f"round{number}")


def _round(
    run: runs.Run,
    number: int,
    work: Work,
    last: Path | None,
    base: models.ModelRef,
    settings: tuple[configs.SftConfig, configs.RlConfig],
    rewards: Sequence[tuple[str, float, api.Reward]],
) -> Path:
    """METHOD 2, one round: SFT(base, D_k) + v_{k-1} -> GRPO -> v_k = RL - SFT. Finished stages are not done again."""
    from ..vectors import extract_skill, inject_skill

    sft, rl = settings
    folder, name = run.dir / f"round{number}", f"round {number}"
    skill = folder / "skill.safetensors"
    if skill.is_file():
        return skill
    before = _stage(run, folder / "sft", "sft", base.path, work.learnt, sft, label=f"{name} sft")
    start = before
    if last is not None:
        start = folder / "init"
        if not start.is_dir():
            half = folder / ".init"
            shutil.rmtree(half, ignore_errors=True)
            inject_skill([(last, 1.0)], before, half)
            half.rename(start)
    with _rl_tools.playing(work.source, rl) as episodes:
        more: dict[str, Any] = {"rewards": rewards, "label": f"{name} rl", "episodes": episodes}
        after = _stage(run, folder / "rl", "rl", start, work.asked, rl, **more)
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
    episodes: api.Episodes | None = None,
) -> Path:
    """The model of one training, or of the same training finished before an interruption."""
    note = folder / "result.json"
    if note.is_file():
        return folder / json.loads(note.read_text(encoding="utf-8"))["made"]
    folder.mkdir(parents=True, exist_ok=True)
    result = _train.train(stage, model, rows, folder, config, run.resumed, rewards, label, episodes=episodes)
    figures = {"loss": _train.mean(result.log, "loss", 5), "reward": _train.mean(result.log, "reward", 5)}
    run.metrics(**{f"{label.replace(' ', '_')}_{key}": value for key, value in figures.items() if value is not None})
    run.save()
    _train.name_base(run, result)
    runs.write_json(note, {"made": result.path.name})
    return result.path
