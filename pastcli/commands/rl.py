"""`past rl`: teach a model to use what it knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import models, runs
from ..config import RlConfig
from ..errors import UsageError
from . import _audit, _lineage, _train
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
DEV = typer.Option(
    "--dev",
    metavar="FILE",
    help="Held-out questions: their reward is measured while training runs, and the best model is the result.",
)
AUDIT = typer.Option(
    "--audit",
    metavar="N",
    min=3,
    help="Train nothing: what do the rewards pay, on N questions, to answers that know nothing, and do they tell the model's "
    "own answers apart? Exit 4 if they should not be trained on.",
)


@with_settings("rl")
def command(
    sft: Annotated[str | None, SFT] = None,
    questions: Annotated[Path | None, QUESTIONS] = None,
    dev: Annotated[Path | None, DEV] = None,
    audit: Annotated[int | None, AUDIT] = None,
    card: _train.Card = 0.0,
    *,
    config: RlConfig,
    name: Name = "",
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    allow_stale: AllowStale = False,
    strict: Strict = False,
) -> None:
    """GRPO on questions without the passage in the prompt: the model learns to use what SFT put into its weights.

    Rewards compare the answer with the accepted ones; `past plugins` lists them. A reward that fails stops the run. The
    reward `judge` asks a model (--judge-model) whether the answer is right; `--audit 32` tries the rewards beforehand.
    """
    if not dry_run and _train.joined(config, as_json):
        return
    if questions is None:
        raise UsageError("no questions given", "name a file: past rl --questions questions.jsonl")
    from ..ingest import from_stdin, read_questions

    questions = from_stdin(questions)
    found = models.resolve(sft) if sft else _newest_sft()
    extra = {"sft": str(found.path), "questions": str(questions.resolve()), "name": name}
    extra |= {"dev": str(dev.resolve())} if dev else {}
    if audit is None and already_done("rl", config, extra, resume, as_json):
        return
    rewards = _train.rewards_of(config)
    rows = _train.rl_rows(read_questions(questions, strict), questions)
    if audit is not None:
        _audit.show(_audit.made(found, rows, rewards, config, audit), as_json)
        return
    held_out = _train.rl_rows(read_questions(dev, strict), dev) if dev else []
    if dry_run:
        _train.show_plan("rl", found, rows, config, card, as_json)
        return
    with runs.start("rl", config, extra=extra, resume=resume, force=force, name=name, allow_stale=allow_stale) as run:
        _train.add_base(run, "sft", found)
        run.add_input("questions", questions)
        run.add_inputs("dev", [dev] if dev else [])
        result = _train.train("rl", found.path, rows, run.dir, config, run.resumed, rewards, dev=held_out)
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
