"""What both trainers share, on one processor or on many: a fixed plan of batches, seeds, checkpoints and the watch.

Two paths lead through it. On one process without a card the tuned step (see `compute`) takes each step's rows whole.
Everywhere else TRL's own step runs on accelerate as it comes, and the plan is dealt out to processes and micro-batches.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback

from pastcli import api, tested
from pastcli.errors import PastError, UsageError

from ..compute import WorkingWeights, compute_dtype
from . import checkpoints
from .arguments import Machine
from .freed import FreedMemory
from .held_out import HeldOut
from .overrides import Overrides, stands_in
from .reporting import guard
from .room import refuse_without_room
from .scores import refuse_other_scores
from .watch import Clock, Watch
from .watchdog import RULES, Watchdog


def schedule(kind: str, steps: int, warmup: float) -> Callable[[int], float]:
    """Factor of the learning rate at step 0, 1, ...: up over the first `warmup` share (at least one step), then
    constant, or down to 0 after the last step by a line or half a cosine."""
    if kind not in ("linear", "cosine", "constant"):
        raise UsageError(f"unknown schedule {kind!r}", "one of: linear, cosine, constant")
    rise = max(1, int(warmup * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        done = (step - rise) / max(1, steps - rise)
        return {"linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "constant": 1.0}[kind]

    return factor


class PlannedTrainer(Trainer):
    """Mixed in before a TRL trainer.

    `batches` are lists of row numbers, one for every call of `training_step` on this process; `rows` is indexed by them.
    """

    job: api.TrainJob
    lr_scheduler: Any  # transformers' own
    clock: Clock
    watch: Watch
    rows: Any
    batches: Sequence[list[int]]
    dtype: torch.dtype
    tuned: bool
    extra: dict[str, float]
    counted: int = 0
    """Rows of the step, over all processes."""
    seen_before: int = 0
    unneeded: tuple[str, ...] = ()
    """Methods that stand in for the library's (see `overrides`) and that this kind of training does not come by."""
    rules = RULES
    """What the watchdog asks after every step."""

    def attach(self, job: api.TrainJob, machine: Machine, rows: Any, batches: Sequence[list[int]]) -> None:
        self.job, self.rows, self.batches = job, rows, batches
        self.dtype = compute_dtype(job.config.precision)
        self.clock, self.watch, self.extra = Clock(), Watch(job.watch, job.progress), {}
        self.tuned = machine.tuned
        if not machine.tuned and not self.is_deepspeed_enabled:  # which may have shared the weights out already
            with self.computing():
                refuse_other_scores(self.model, getattr(self, "temperature", 1.0))
        self.saver = checkpoints.Saver(self, job.config.save_every, job.config.save_minutes)
        for one in self.model.parameters():
            if one.requires_grad and one.dtype != torch.float32:  # TRL's choice over a base in 4 bits
                one.data = one.data.float()
        if self.args.should_save:
            refuse_without_room(self.model, job.state)
        _keeps_the_skill(self.is_deepspeed_enabled, job.config.method)
        if machine.sharded and self.accelerator.distributed_type != DistributedType.FSDP:
            raise PastError(
                "this accelerate shards no model here: each process would hold the whole",
                f"--sharding none, or {tested.install(['accelerate', 'transformers'])}",
            )
        self.remove_callback(PrinterCallback)
        guard(self)
        for callback in (Overrides(self), self.saver, _Pace(self), self.watch):
            self.add_callback(callback)
        if not machine.cuda:
            self.add_callback(FreedMemory())
        if job.config.watchdog:
            self.add_callback(Watchdog(job.config.patience, self.rules, job.watch))

    def hold_out(self, rows: list[dict[str, Any]]) -> None:
        """Measure these rows every `dev_every` steps, and keep the best model."""
        self.add_callback(HeldOut(self, self.prepared(rows), self.job.config.dev_every))

    def prepared(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return rows

    def held_out(self, rows: list[dict[str, Any]]) -> float:
        """The measure of held-out rows, higher is better, the same on all processes."""
        raise NotImplementedError

    @functools.cached_property
    def working(self) -> WorkingWeights:
        """What the tuned step computes with; entered once a step."""
        return WorkingWeights(self.model, self.dtype)

    def computing(self) -> contextlib.AbstractContextManager:
        """In the type the training computes in, for what needs no gradient."""
        if self.tuned:
            return self.working
        return self.accelerator.autocast() if self.args.bf16 else contextlib.nullcontext()

    @property
    def rank(self) -> int:
        return self.accelerator.process_index

    @stands_in()
    def get_train_dataloader(self) -> DataLoader:
        return DataLoader(self.rows, batch_sampler=self.batches, collate_fn=self.data_collator)

    @stands_in()
    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        if self.lr_scheduler is None:
            factor = schedule(self.job.config.schedule, num_training_steps, self.job.config.warmup)
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, factor)
        return self.lr_scheduler

    @stands_in()
    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with self.clock("train"):
            return super().training_step(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            taken = self.clock.take()
            seen = self.state.num_input_tokens_seen
            seconds = taken["seconds"] - taken.get("seconds_checkpoint", 0.0)
            logs.update(taken, rows=self.counted, tokens_per_second=(seen - self.seen_before) / max(seconds, 1e-9))
            logs.update(self.extra)
            self.extra.clear()
            self.seen_before = seen
        super().log(logs, start_time)

    @stands_in(within="on_save")
    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.state.global_step >= self.state.max_steps:
            return  # the model itself is written next
        began = time.monotonic()
        with self.clock("checkpoint"):
            checkpoints.save(self, self.job.state)
        self.saver.done(time.monotonic() - began)


def _keeps_the_skill(deepspeed: bool, method: str) -> None:
    """DeepSpeed holds a model's weights in 16 bits and gives them back so: a full change would be rounded away (METHOD 5)."""
    if deepspeed and method == "full":
        raise UsageError(
            "DeepSpeed gathers weights in 16 bits, which loses a skill that lies in full weights",
            "train --method lora, whose factors survive 16 bits, or shard by FSDP2: --sharding full gathers float32",
        )


class _Pace(TrainerCallback):
    """Starts the clock with the training, and times the optimiser's step."""

    def __init__(self, trainer: PlannedTrainer):
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.clock.take()
        self.trainer.seen_before = state.num_input_tokens_seen

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self._part = self.trainer.clock("optimizer")
        self._part.__enter__()

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        self._part.__exit__(None, None, None)
