"""Checkpoints that are whole or absent: written under a temporary name, sealed with their hashes, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME

from pastcli import output, tested
from pastcli.diskspace import full, is_full
from pastcli.errors import PastError
from pastcli.runs import write_json

from . import stopping

KEEP = 2
GOING_ON = "going on from step "
"""How a resumed training says where it begins; of several processes the launcher passes it on."""
_SEAL = "complete.json"
_SHARE = 0.05
"""Of a training's time, what checkpoints may take where their interval is chosen by time."""


class Saver(TrainerCallback):
    """Asks for a checkpoint every `every` steps, or with 0 every `minutes`, less often where writing one takes long.

    With several processes rank 0 decides for all, by its clock and the disk that it sees.
    """

    def __init__(self, trainer: Any, every: int, minutes: float):
        self.trainer, self.every, self.seconds = trainer, every, minutes * 60
        self._last = time.monotonic()
        self.cost = 0.0
        self._warned = False
        self._notes = stopping.Notes(trainer.job.state)
        self._stopping = False

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[None]:
        """SIGTERM, and Ctrl-C before the first checkpoint: the step in hand is finished and kept in one, then `KeyboardInterrupt`
        is raised in all processes. A second signal stops at once, and so does Ctrl-C where there is a checkpoint to go on from."""
        heard: list[int] = []
        if self.trainer.args.world_size > 1:  # the launcher hears it
            if self.trainer.rank == 0:
                self._notes.begin()
            yield
        else:
            with stopping.finishing(self._stop, lambda: True, lambda: bool(found(self.trainer.job.state))) as heard:
                self._notes.begin()
                yield
        state = self.trainer.state  # another one than before the training
        if self._stopping and state.global_step < state.max_steps:
            raise stopping.stopped(heard)

    def _stop(self) -> None:
        self._stopping = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        decided = torch.tensor(self._decided(state), device=args.device)
        if args.world_size > 1:  # where one saw less room on the disk than the others, they would wait for each other
            torch.distributed.broadcast(decided, 0)
        control.should_save, self._stopping = decided.bool().tolist()
        if self._stopping:
            control.should_training_stop = True

    def _decided(self, state: Any) -> tuple[int, int]:
        """(whether to write a checkpoint now, whether to end with it), as this process would have it."""
        if self._stopping or (self.trainer.rank == 0 and self._notes.is_stopping()):
            return self._room(), True
        if self.every:
            return state.global_step % self.every == 0, False
        waited = time.monotonic() - self._last
        return waited >= max(self.seconds, self.cost / _SHARE) and self._room(), False

    def _room(self) -> bool:
        """Whether the disk takes one more checkpoint: without room the training goes on unprotected, and says so once."""
        size = _size(self.trainer)
        free = shutil.disk_usage(self.trainer.job.state).free
        if free < size and not self._warned:
            self._warned = True
            output.warn(f"no checkpoint: it takes {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")
        return free >= size

    def done(self, seconds: float) -> None:
        self.cost, self._last = seconds, time.monotonic()


def _size(trainer: Any) -> int:
    """Bytes of a checkpoint: what is trained and AdamW's two moments, in float32."""
    return 12 * sum(one.numel() for one in trainer.model.parameters() if one.requires_grad)


def save(trainer: Any, folder: Path) -> None:
    """Weights, optimiser, schedule, random states and the trainer's own state as `folder/checkpoint-STEP`.

    All processes call it; rank 0 writes what is not sharded, and the newest `KEEP` are kept. Raises `FullDisk` or
    `PastError` when it cannot be written, and leaves nothing half-written under its final name.
    """
    step, wait, main = trainer.state.global_step, trainer.accelerator.wait_for_everyone, trainer.args.should_save
    partial = folder / f".partial-{step}"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        wait()
        if main and not trainer.is_fsdp_enabled:  # a sharded model is written with its optimiser
            trainer.model.save_pretrained(partial)
        trainer._save_optimizer_and_scheduler(str(partial))
        trainer._save_rng_state(str(partial))
        wait()
        if main:
            trainer.state.save_to_json(str(partial / TRAINER_STATE_NAME))
            write_json(partial / _SEAL, {file.name: _digest(file) for file in partial.iterdir()})
            os.rename(partial, folder / f"checkpoint-{step}")
        wait()
    except Exception as error:  # OSError, torch's RuntimeError or safetensors' own type
        what = f"checkpoint of step {step} cannot be written"
        again = "run the same command with --resume, or raise --save-every"
        free = shutil.disk_usage(folder).free  # of a full disk torch may tell where in the file it is, and no more
        no_room = is_full(error) or (isinstance(error, RuntimeError) and free < _size(trainer))
        told = full(error, [folder], f"free some space there and {again}", what) if no_room else None
        shutil.rmtree(partial, ignore_errors=True)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise told or PastError(f"{what} to {folder}: {reason}", _hint(error, again)) from error
    if main:
        for old in found(folder)[KEEP:]:
            shutil.rmtree(old, ignore_errors=True)


def _hint(error: Exception, again: str) -> str:
    """What mends it: a library that lacks a method would fail at every checkpoint."""
    gone = isinstance(error, (AttributeError, TypeError))
    return tested.suspects(error) or tested.install(["transformers"]) if gone else again


def found(state: Path) -> list[Path]:
    """Checkpoints of a state directory, newest first."""
    numbered = [path for path in state.glob("checkpoint-*") if path.name.split("-")[1].isdigit()]
    return sorted(numbered, key=lambda path: int(path.name.split("-")[1]), reverse=True)


def newest_whole(state: Path) -> Path | None:
    """The newest checkpoint whose seal fits; damaged ones are removed, with a warning."""
    for path in found(state):
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
