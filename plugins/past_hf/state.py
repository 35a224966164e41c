"""What both TRL trainers share: a fixed plan of batches, fp32 masters, checkpoints that are whole or absent."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME

from pastcli import api, output
from pastcli.errors import PastError, UsageError
from pastcli.runs import write_json

from .compute import compute_dtype

KEEP = 2
_SEAL = "complete.json"


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
    """Mixed in before a TRL trainer. `rows` are the examples, `plan` one list of row numbers a step.

    The plan covers the whole training and depends on the seed alone, so that skipping its first batches is all
    a resumed run has to do to be where the killed one was.
    """

    rows: list[dict[str, Any]]
    plan: list[list[int]]
    job: api.TrainJob
    dtype: torch.dtype

    def attach(self, job: api.TrainJob, rows: list[dict[str, Any]], plan: list[list[int]]) -> None:
        self.job, self.rows, self.plan = job, rows, plan
        self.dtype = compute_dtype(job.config.precision)
        self.remove_callback(PrinterCallback)
        self.add_callback(_Report(job.progress))

    def get_train_dataloader(self) -> DataLoader:
        return DataLoader(self.rows, batch_sampler=self.plan, collate_fn=self.data_collator)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        if self.lr_scheduler is None:
            factor = schedule(self.job.config.schedule, num_training_steps, self.job.config.warmup)
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, factor)
        return self.lr_scheduler

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Trainer's files under a temporary name, sealed with their hash, then renamed; the newest two are kept."""
        step = self.state.global_step
        if step >= self.state.max_steps:
            return  # the model itself is written next
        final = self.job.state / f"checkpoint-{step}"
        partial = self.job.state / f".partial-{step}"
        try:
            partial.mkdir(parents=True, exist_ok=True)
            self.model.save_pretrained(partial)
            self._save_optimizer_and_scheduler(str(partial))
            self._save_rng_state(str(partial))
            self.state.save_to_json(str(partial / TRAINER_STATE_NAME))
            write_json(partial / _SEAL, {file.name: _digest(file) for file in partial.iterdir()})
            os.rename(partial, final)
        except Exception as error:  # OSError, torch's RuntimeError or safetensors' own type
            shutil.rmtree(partial, ignore_errors=True)
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise PastError(
                f"checkpoint of step {step} cannot be written to {self.job.state}: {reason}",
                "free some space and run the same command with --resume, or raise --save-every",
            ) from error
        for old in checkpoints(self.job.state)[KEEP:]:
            shutil.rmtree(old, ignore_errors=True)


class _Report(TrainerCallback):
    """Hands step, total and the latest metrics to the job."""

    def __init__(self, progress: api.Progress | None):
        self.progress = progress

    def on_log(self, args, state, control, logs=None, **_):
        if self.progress and logs:
            shown = {key: logs[key] for key in ("loss", "reward") if isinstance(logs.get(key), (int, float))}
            self.progress(state.global_step, state.max_steps, shown)


def checkpoints(state: Path) -> list[Path]:
    """Checkpoints of a state directory, newest first."""
    found = [path for path in state.glob("checkpoint-*") if path.name.split("-")[1].isdigit()]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]), reverse=True)


def newest_whole(state: Path) -> Path | None:
    """The newest checkpoint whose seal fits; damaged ones are removed, with a warning."""
    for path in checkpoints(state):
        if _whole(path):
            return path
        output.warn(f"{path.name} is damaged; falling back to the checkpoint before it")
        shutil.rmtree(path, ignore_errors=True)
    return None


def _whole(path: Path) -> bool:
    try:
        seal = json.loads((path / _SEAL).read_text(encoding="utf-8"))
        return all(_digest(path / name) == wanted for name, wanted in seal.items())
    except (OSError, ValueError, AttributeError):
        return False


def _digest(file: Path) -> str:
    """sha256 of all its bytes: one flipped bit in the optimiser's state would go on into every later step."""
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
