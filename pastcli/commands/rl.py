"""`past rl`: teach a model to use what it knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import config as configs
from .. import models, output, runs
from ..errors import UsageError
from . import _lineage, _train
from ._options import (
    ConfigFile,
    DryRun,
    Force,
    Json,
    Name,
    Resume,
    already_done,
    complete_model,
    option,
    show_run,
    typed,
)

EXAMPLE = "Example: `past rl --sft runs/sft-1 --questions questions.jsonl --reward f1:0.5 --reward exact_match:0.5`"

SFT = typer.Option(
    "--sft",
    metavar="PATH",
    help="The model to start from (default: the newest sft run).",
    autocompletion=complete_model,
)
QUESTIONS = typer.Option(
    "--questions", metavar="FILE", help="Questions with answers: JSONL, SQuAD-like JSON or LooGLE."
)


def command(
    sft: Annotated[str | None, SFT] = None,
    questions: Annotated[Path | None, QUESTIONS] = None,
    reward: Annotated[list[str] | None, option("rl", "reward")] = None,
    method: Annotated[str | None, option("rl", "method")] = None,
    steps: Annotated[int | None, option("rl", "steps")] = None,
    prompts_per_step: Annotated[int | None, option("rl", "prompts_per_step")] = None,
    num_generations: Annotated[int | None, option("rl", "num_generations")] = None,
    max_new_tokens: Annotated[int | None, option("rl", "max_new_tokens")] = None,
    temperature: Annotated[float | None, option("rl", "temperature")] = None,
    lr: Annotated[float | None, option("rl", "lr")] = None,
    schedule: Annotated[str | None, option("rl", "schedule")] = None,
    warmup: Annotated[float | None, option("rl", "warmup")] = None,
    weight_decay: Annotated[float | None, option("rl", "weight_decay")] = None,
    clip: Annotated[float | None, option("rl", "clip")] = None,
    beta: Annotated[float | None, option("rl", "beta")] = None,
    loss: Annotated[str | None, option("rl", "loss")] = None,
    batch_tokens: Annotated[int | None, option("rl", "batch_tokens")] = None,
    rank: Annotated[int | None, option("rl", "rank")] = None,
    alpha: Annotated[float | None, option("rl", "alpha")] = None,
    precision: Annotated[str | None, option("rl", "precision")] = None,
    trainer: Annotated[str | None, option("rl", "trainer")] = None,
    save_every: Annotated[int | None, option("rl", "save_every")] = None,
    seed: Annotated[int | None, option("rl", "seed")] = None,
    name: Name = "",
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    config_file: ConfigFile = None,
) -> None:
    """GRPO on questions without the passage in the prompt: the model learns to use what SFT put into its weights.

    Rewards compare the answer with the accepted ones; `past plugins` lists them. A reward that fails stops the run.
    """
    config = configs.resolve("rl", typed("rl", locals()), config_file)
    _train.check(config)
    if questions is None:
        raise UsageError("no questions given", "name a file: past rl --questions questions.jsonl")
    found = models.resolve(sft) if sft else _newest_sft()
    extra = {"sft": str(found.path), "questions": str(questions.resolve()), "name": name}
    if already_done("rl", config, extra, resume, as_json):
        return
    from ..ingest import read_questions

    rewards = _train.rewards_of(config)
    rows = _train.rl_rows(read_questions(questions), questions)
    if dry_run:
        answers = config.steps * config.prompts_per_step * config.num_generations
        plan = {"would_train": str(found.path), "questions": len(rows), "steps": config.steps}
        output.emit({**plan, "answers_sampled": answers}, as_json)
        return
    with runs.start("rl", config, extra=extra, resume=resume, force=force, name=name) as run:
        _train.add_base(run, "sft", found)
        run.add_input("questions", questions)
        result = _train.train("rl", found.path, rows, run.dir, config, run.resumed, rewards)
        _train.record(run, result)
        run.metrics(questions=len(rows), **_rewarded(result.log))
    show_run(runs.read(run.final), as_json)


def _rewarded(log: list[dict[str, float]]) -> dict[str, float | None]:
    """Mean reward of the first and last five steps, and the share of groups whose answers all earned the same."""
    first, last = _train.mean(log[:5], "reward", 5), _train.mean(log, "reward", 5)
    return {"reward_first": first, "reward_last": last, "dead_groups": _train.mean(log, "dead_groups", len(log))}


def _newest_sft() -> models.ModelRef:
    record = _lineage.newest("sft", made=models.MODEL_OUTPUTS, hint="run `past sft`, or name a model: --sft PATH")
    return _lineage.model_of(record, "sft")
