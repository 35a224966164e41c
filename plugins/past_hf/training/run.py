"""One training in this process, alone or as one of several: load, train, gather, write."""

from __future__ import annotations

import gc
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from pastcli import api, output
from pastcli.environment import keep_freed_memory
from pastcli.errors import MismatchError, PastError, UsageError

from ..habits import bound_to_lengths, looks_ahead
from ..materialize import load_tokenizer
from ..saved import refuse_unplaced
from ..unknown import guard
from . import grpo, sft, tool_grpo
from .arguments import Machine, common, shard_on_processors
from .checkpoints import GOING_ON, newest_whole
from .held_out import BEST, NOTE, read_best
from .packing import load
from .precision import settle_precision
from .reporting import closing, purge_curves
from .saving import gathered, save, weights_hash
from .watch import logged_steps

BUILD = {"sft": sft.build, "rl": grpo.build}


def run(stage: str, job: api.TrainJob, processes: int = 1) -> api.TrainResult:
    """Train as `job` says; with several processes each calls this, and rank 0 writes the result."""
    config, machine = job.config, Machine.here(job.config, processes)
    if machine.tuned:
        keep_freed_memory(2**30, 2**31 - 1)  # a twentieth of the step was the kernel's zeroing of pages
    if machine.sharded and not machine.cuda:
        shard_on_processors()
    set_seed(config.seed)
    model = load(job.model, config, machine)
    if config.method == "full":
        refuse_unplaced(model, job.model)
    _refuse_other_learners(model, job.model)
    tokenizer, rows = load_tokenizer(job.model), _rows(job.examples)
    guard(model, tokenizer, rows)
    build = BUILD[stage] if job.episodes is None else tool_grpo.build
    trainer = build(job, machine, model, tokenizer, rows, common(job, machine))
    if job.dev is not None:
        trainer.hold_out(_rows(job.dev))
    if machine.tuned:
        settle_precision(trainer)
    before = weights_hash(dict(trainer.model.named_parameters()))
    began = time.monotonic()
    checkpoint = newest_whole(job.state) if job.resume else None
    reached = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    if job.resume and trainer.args.should_save:
        output.note(f"{GOING_ON}{reached or '0: no checkpoint had been written'}")
    if job.resume:
        purge_curves(trainer, reached)
    with trainer.saver.stoppable(), closing(trainer), _few_to_look_at():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    log = logged_steps(trainer.state.log_history)
    earlier = sum(entry.get("seconds", 0.0) for entry in log if entry["step"] <= reached)
    seconds = earlier + time.monotonic() - began
    state = gathered(trainer)
    after = weights_hash(state)
    if trainer.args.should_save and before == after:
        raise PastError(
            "training changed nothing: every weight is what it was before",
            "is the learning rate above 0? In RL: did all answers to each question earn the same reward?",
        )
    kind = "adapter" if config.method == "lora" else "model"
    chosen = _written(trainer, state, job.out, kind) if trainer.args.should_save else {}
    return api.TrainResult(
        path=job.out / kind,
        kind=kind,
        steps=trainer.state.global_step,
        tokens=int(trainer.state.num_input_tokens_seen),
        seconds=seconds,
        initial_hash=before,
        final_hash=chosen.get("hash", after),
        last=job.out / "last" if (job.out / "last").is_dir() else None,
        best_step=chosen.get("step", trainer.state.global_step),
        log=log,
    )


@contextmanager
def _few_to_look_at() -> Iterator[None]:
    """Within the block, what is there already is not looked at for garbage: transformers collects it as training begins, which took
    0.4 s over all that the imports had made."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _refuse_other_learners(model: Any, source: Path) -> None:
    """Raise `MismatchError` for a model that learns no next token, or not from texts as they come."""
    if looks_ahead(model):
        decoder = getattr(model.config, "is_decoder", False)
        raise MismatchError(
            f"{source} is no causal language model: its scores of a token change with the tokens that follow, which it would learn to copy",
            f"a {model.config.model_type} does so as a decoder too: take another model"
            if decoder
            else 'a model of BERT\'s kind that was trained as one says so in its config.json ("is_decoder": true)',
        )
    if bound_to_lengths(model):
        raise MismatchError(
            f"{source} trains on rows of certain lengths alone, and texts have every length",
            "take another model, or train this one with a program that fills every row up to them",
        )


def _rows(examples: Path) -> list[dict[str, Any]]:
    with open(examples, encoding="utf-8") as handle:
        rows = [json.loads(line) for line in handle if line.strip()]
    if not rows:
        raise UsageError(f"{examples} holds no examples")
    return rows


def _written(trainer: Any, state: dict[str, torch.Tensor], out: Path, kind: str) -> dict[str, Any]:
    """Write the last weights, or, where held-out rows chose earlier ones, those, and the last beside them."""
    best = trainer.job.state / BEST
    note = read_best(best)
    if note.get("step", trainer.state.global_step) == trainer.state.global_step:
        save(trainer, state, out / kind)
        return {}
    save(trainer, state, out / "last")
    (best / NOTE).unlink()
    shutil.move(best, out / kind)
    return note
