"""What `sft`, `rl` and `distill` share: rewards, and one training inside a run; the rows are made in `_train_rows`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import adapters, api, cards, models, output, registry, runs, words
from ..config import finite
from ..errors import UsageError
from ..files import write_lines
from . import _options
from ._weights import refuse_not_finite

if TYPE_CHECKING:
    from ..config import RlConfig


def rewards_of(config: RlConfig, episodes: bool = False) -> list[tuple[str, float, api.Reward]]:
    """The reward plugins of `name[:weight]`, loaded; raises `UsageError` for a bad weight or an unknown name.

    With `episodes` those of the episodes, whose judge (and its model) is asked by what plays them.
    """
    found = []
    for text in config.tool_reward if episodes else config.reward:
        name, colon, weight = text.partition(":")
        try:
            value = finite(weight) if colon else 1.0
        except ValueError:
            raise UsageError(
                f"reward {text!r}: the weight must be a number", "write it as name or name:weight, like f1:0.5"
            ) from None
        found.append((name, value, registry.load("reward", name)))
    judging = [hasattr(reward, "open") for _, _, reward in found]
    if config.judge_model and not any(judging) and not episodes:
        raise UsageError("--judge-model is for a reward that needs a model", "add --reward judge:0.5")
    return [(n, w, judge_of(config, reward) if needs else reward) for (n, w, reward), needs in zip(found, judging)]


def judge_of(config: Any, reward: Any = None) -> Any:
    """The reward `judge` (or another that is opened as it is) with the model of the settings; three votes by default."""
    reward = reward or registry.load("reward", "judge")
    return reward.open(config.judge_backend or "openai", config.judge_model, config.judge_votes or 3)


def refuse(stage: str, config: Any, episodes: bool = False) -> None:
    """Raise `UsageError` for settings that their trainer takes in no training of this kind."""
    if told := getattr(registry.load("trainer", config.trainer), "refuse", None):
        told(stage, config, episodes)


def train(
    stage: str,
    model: Path,
    rows: Iterable[dict[str, Any]],
    folder: Path,
    config: Any,
    resume: bool,
    rewards: Sequence[tuple[str, float, api.Reward]] = (),
    label: str = "",
    dev: Sequence[dict[str, Any]] = (),
    episodes: api.Episodes | None = None,
    strict: bool = False,
) -> api.TrainResult:
    """One training in `folder`: examples.jsonl, log.jsonl and the model or adapter made; its checkpoints are removed.

    `dev` are held-out rows, measured while it runs. A failure before the first checkpoint leaves nothing that could be
    taken for something to resume.
    """
    examples, state = folder / "examples.jsonl", folder / "state"
    write_lines(examples, rows)
    held_out = folder / "dev.jsonl" if dev else None
    if held_out:
        write_lines(held_out, dev)
    trainer = registry.load("trainer", config.trainer)
    with output.progress(label or stage, "steps") as progress:
        job = api.TrainJob(
            model, examples, folder, state, config, resume, progress, rewards, folder, held_out, episodes, strict
        )
        try:
            result = trainer.sft(job) if stage == "sft" else trainer.rl(job)
        except Exception:
            if not any(state.glob("checkpoint-*")):
                examples.unlink()
                shutil.rmtree(state, ignore_errors=True)
            raise
    write_lines(folder / "log.jsonl", result.log)
    shutil.rmtree(state, ignore_errors=True)
    return result


WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt")


def check_weights(model: Path, dry_run: bool) -> None:
    """Raise `MismatchError` for a model that holds NaN or infinity: its loss would be none either. A config.json alone, without
    weights, can be planned for."""
    if dry_run and (model / "config.json").is_file() and not has_weights(model):
        return
    refuse_not_finite(model)


def has_weights(model: Path) -> bool:
    """Whether a model is more than the configuration of one."""
    return model.is_file() or any(file for pattern in WEIGHTS for file in model.glob(pattern))


def joined(config: Any, as_json: bool) -> bool:
    """On a machine other than the first of several: work in the run that machine 0 makes, until it ends, and say so.

    The documents and settings that count are machine 0's; of those given here only what finds it is read.
    """
    if config.machines < 2 and not config.launch:
        if config.machine_rank:
            raise UsageError(f"--machine-rank {config.machine_rank} without --machines", "of how many? --machines N")
        return False
    trainer = registry.load("trainer", config.trainer)
    if not hasattr(trainer, "join"):
        raise UsageError(f"trainer {config.trainer!r} works on one machine", "leave --machines and --launch out")
    machine = trainer.joins(config)
    if machine == 0:
        return False
    output.note(f"machine {machine}: working in the run of machine 0")
    run = trainer.join(config)
    output.emit({"machine": machine, "joined": run.name}, as_json)
    return True


Card = Annotated[
    float,
    typer.Option(
        "--card",
        metavar="GB",
        min=0,
        callback=_options.is_finite,
        help="With --dry-run: plan for cards of this much memory.",
    ),
]


def show_plan(
    stage: str,
    model: models.ModelRef,
    rows: Sequence[dict[str, Any]],
    config: Any,
    card: float,
    as_json: bool,
    sources: Mapping[str, str] | None = None,
    strict: bool = False,
) -> None:
    """What a training would take, as its trainer plans it (the counts alone where it has no plan), and every setting."""
    document = {"would_train": model.name, "model": str(model.path), "method": config.method, "examples": len(rows)}
    plan = getattr(registry.load("trainer", config.trainer), "plan", None)
    document |= plan(stage, model.path, rows, config, card, **({"strict": True} if strict else {})) if plan else {}
    if not card and has_weights(model.path):  # where the training itself could be started
        _options.disk(runs.workspace(), round(document.get("disk_gb", {}).get("result", 0) * 1e9))

    def human() -> None:
        output.pairs({key: value for key, value in document.items() if not isinstance(value, (dict, list))})
        for title in ("memory_gb", "host_gb", "disk_gb", "seconds"):
            if isinstance(document.get(title), dict):
                output.table(title, ["", ""], list(document[title].items()), boxed=False)
        if between := document.get("seconds_between"):
            why = _why(document["others_at_work"], document.get("answer_tokens"))
            output.line(f"it takes {words.durations(*between)}{why}")
        for way in document.get("would_fit", []):
            output.line(f"would fit: {way['with']} ({way['peak_gb']} GB)")

    _options.show_plan(document, config, sources, as_json, human)


def _why(others: float, answers: Sequence[int] | None) -> str:
    """What makes the range wide: how long answers are, and somebody else at work."""
    lengths = f" with answers of {words.between(answers[0], answers[1], 'tokens')}" if answers else ""
    company = f": others use {others:.0%} of the processors now; the less they do, the sooner it is done"
    return lengths + (company if others >= 0.1 else "")


def record(run: runs.Run, result: api.TrainResult) -> None:
    """Name what a training made in its run, with the figures every training has."""
    run.add_output(result.kind, result.path)
    name_base(run, result)
    merged = run.dir / "sft"
    if merged.is_dir():  # RL began from an adapter: the merged model is what its skill is measured against
        run.add_output("sft", merged)
    if result.last is not None:
        run.add_output("last", result.last)
    measured = [entry["dev"] for entry in result.log if "dev" in entry]
    if measured:
        run.metrics(dev_best=max(measured), dev_last=measured[-1], best_step=result.best_step)
    first, last = (result.log[0], result.log[-1]) if result.log else ({}, {})
    run.metrics(
        steps=result.steps,
        tokens=result.tokens,
        seconds_training=round(result.seconds, 2),
        tokens_per_second=mean(result.log, "tokens_per_second", len(result.log)),
        loss_first=first.get("loss"),
        loss_last=last.get("loss"),
        initial_hash=result.initial_hash,
        final_hash=result.final_hash,
    )
    run.took_at_least(result.seconds)
    made_from = runs.Record(run.dir, run.manifest)
    source = made_from.input("base") or made_from.input("sft") or ""
    cards.write_card(result.path, run, Path(source), result.kind)


def name_base(run: runs.Run, result: api.TrainResult) -> None:
    """Name the base of a trained adapter without a path of this machine; one that lies in the run moves with it."""
    if result.kind == "adapter":
        base = adapters.base_of(result.path).path
        inside = base.resolve().is_relative_to(run.dir.resolve())
        final = result.path if inside else run.final / result.path.relative_to(run.dir)
        adapters.name_base(result.path, base, final)


def mean(log: Sequence[dict[str, float]], name: str, last: int) -> float | None:
    """Mean of a metric over the last entries that have it."""
    values = [entry[name] for entry in log[-last:] if isinstance(entry.get(name), (int, float))]
    return round(sum(values) / len(values), 4) if values else None


def ends(log: Sequence[dict[str, float]], name: str) -> tuple[float | None, float | None]:
    """Mean of a metric over the first and over the last steps: five each, of a short training fewer, so that no step is both."""
    few = max(1, min(5, len(log) // 2))
    return mean(log[:few], name, few), mean(log, name, few)


def add_base(run: runs.Run, name: str, found: models.ModelRef) -> None:
    """Record the model a training starts from, by path, name and hub revision."""
    run.add_input(name, found.path, model=found.name, kind=found.kind, revision=found.revision)
