"""`past rl`: teach a model to use what it knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import models, runs
from ..api import Reward
from ..config import RlConfig
from ..errors import UsageError
from . import _adapter_base, _audit, _lineage, _rl_tools, _train, _train_rows
from ._adapter_base import AdapterBase, as_typed, standing_in_as
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
    show_plan,
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
TOOLS = typer.Option(
    "--tools", metavar="FILE", help="Instead of questions: tools with queries, as `past agent` takes them."
)
TASKS = typer.Option("--tasks", metavar="FILE", help="With --tools: queries of your own with the calls of a good run.")
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
@standing_in_as(as_typed)
def command(
    sft: Annotated[str | None, SFT] = None,
    questions: Annotated[Path | None, QUESTIONS] = None,
    tools: Annotated[Path | None, TOOLS] = None,
    tasks: Annotated[Path | None, TASKS] = None,
    dev: Annotated[Path | None, DEV] = None,
    audit: Annotated[int | None, AUDIT] = None,
    base: AdapterBase = None,
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
    sources: dict[str, str] | None = None,
) -> None:
    """GRPO on questions without the passage in the prompt: the model learns to use what SFT put into its weights.

    With --tools it answers queries by whole episodes of calls, and learns to call what it knows by name only. Rewards compare
    the answer with the accepted ones, or weigh the calls; `past plugins` lists them. A reward that fails stops the run. The
    reward `judge` asks a model (--judge-model) whether the answer is right; `--audit 32` tries the rewards beforehand.
    """
    if not dry_run and _train.joined(config, as_json):
        return
    _check(questions, tools, tasks, dev, audit)
    from ..ingest import from_stdin

    found = models.resolve(sft) if sft else _newest_sft()
    questions = from_stdin(questions) if questions is not None else None
    files = {"questions": questions, "dev": dev, "tools": tools, "tasks": tasks}
    given = {key: str(path.resolve()) for key, path in files.items() if path is not None}
    extra = {"sft": str(found.path), "name": name, **given, **_adapter_base.listed(base)}
    if audit is None and not dry_run and already_done("rl", config, extra, resume, as_json):
        return
    source = _rl_tools.read(tools, tasks, config) if tools is not None else None
    rewards = _train.rewards_of(config, episodes=source is not None)
    rows = source.rows() if source else _questions(questions, strict)
    if audit is not None:
        _audit.show(_audit.made(found, rows, rewards, config, audit), as_json)
        return
    held_out = _questions(dev, strict) if dev else []
    may = runs.Options(resume=resume, force=force, name=name, allow_stale=allow_stale, dry_run=dry_run)
    with runs.start("rl", config, extra=extra, **may) as run:
        _train.add_base(run, "sft", found)
        for key, path in given.items():
            run.add_input(key, path)
        _adapter_base.add_input(run, base)
        _train.check_weights(found.path, dry_run)
        if dry_run:
            _show_plan(found, source, rows, config, card, as_json, sources)
            return
        _learn(run, found, source, rows, rewards, held_out, config, strict)
    show_run(runs.read(run.final), as_json)


def _learn(
    run: runs.Run,
    found: models.ModelRef,
    source: _rl_tools.Source | None,
    rows: list[dict[str, Any]],
    rewards: Sequence[tuple[str, float, Reward]],
    held_out: list[dict[str, Any]],
    config: RlConfig,
    strict: bool,
) -> None:
    """The training itself, and its figures into the run."""
    with _rl_tools.playing(source, config) as episodes:
        result = _train.train(
            "rl",
            found.path,
            rows,
            run.dir,
            config,
            run.resumed,
            rewards,
            dev=held_out,
            episodes=episodes,
            strict=strict,
        )
    _train.record(run, result)
    counts = source.counts() | _rl_tools.behaviour(result.log) if source else {"questions": len(rows)}
    run.metrics(**counts, **_rewarded(result.log))


def _show_plan(
    found: models.ModelRef,
    source: _rl_tools.Source | None,
    rows: list[dict[str, Any]],
    config: RlConfig,
    card: float,
    as_json: bool,
    sources: dict[str, str] | None,
) -> None:
    if source is not None:
        show_plan(_rl_tools.plan(source, config, found.name), config, sources, as_json)
    else:
        _train.show_plan("rl", found, rows, config, card, as_json, sources)


def _check(questions: Path | None, tools: Path | None, tasks: Path | None, dev: Path | None, audit: int | None) -> None:
    """Raises `UsageError` for no source of questions, or two."""
    if questions is None and tools is None:
        raise UsageError(
            "no questions given", "name a file: past rl --questions questions.jsonl, or past rl --tools toolbench.json"
        )
    if questions is not None and tools is not None:
        raise UsageError("--questions and --tools both say what to train on", "give one of them")
    if tasks is not None and tools is None:
        raise UsageError("--tasks without --tools", "name the tools that these queries call: --tools FILE")
    if dev is not None and tools is not None:
        raise UsageError("--dev holds questions, not queries with tools", "leave it out with --tools")
    if audit is not None and tools is not None:
        raise UsageError("--audit tries rewards of answers, not of episodes", "leave it out with --tools")


def _questions(file: Path | None, strict: bool) -> list[dict[str, Any]]:
    assert file is not None, "`_check` refuses neither questions nor tools"
    from ..ingest import read_questions

    return _train_rows.rl_rows(read_questions(file, strict), file)


def _rewarded(log: list[dict[str, float]]) -> dict[str, float | None]:
    """Mean reward of the first and last steps (see `ends`), and of the last five on questions not met before; how often each
    question was met; and the share of groups whose answers all earned the same."""
    first, last = _train.ends(log, "reward")
    new = [step for step in log if step.get("passes", 0.0) <= 1]
    return {
        "reward_first": first,
        "reward_last": last,
        "reward_last_new": _train.mean(new, "reward", 5) if len(new) >= 10 else None,
        "passes": log[-1].get("passes") if log else None,
        "dead_groups": _train.mean(log, "dead_groups", len(log)),
    }


def _newest_sft() -> models.ModelRef:
    record = _lineage.newest("sft", made=models.MODEL_OUTPUTS, hint="run `past sft`, or name a model: --sft PATH")
    return _lineage.model_of(record, "sft")
