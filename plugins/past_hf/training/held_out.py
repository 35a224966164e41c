"""A held-out measure while training runs, and the best model by it kept beside the last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from pastcli.runs import write_json

from .saving import gathered, save, weights_hash

BEST, NOTE = "best", "step.json"


class HeldOut(TrainerCallback):
    """Every `every` steps, and after the last, `trainer.held_out(rows)`; a new best is saved as `state/best`.

    Higher is better. The best so far is part of the trainer's state, so a resumed run selects as a straight one does.
    """

    def __init__(self, trainer: Any, rows: list[dict[str, Any]], every: int):
        self.trainer, self.rows, self.every = trainer, rows, every

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.every and state.global_step < state.max_steps:
            return
        with self.trainer.clock("dev"):
            value = self.trainer.held_out(self.rows)
        self.trainer.extra["dev"] = value
        if state.best_metric is None or value > state.best_metric:
            state.best_metric, state.best_global_step = value, state.global_step
            with self.trainer.clock("checkpoint"):
                self._keep(state.global_step, value)

    def _keep(self, step: int, value: float) -> None:
        """Write `state/best` anew; its note comes last, so that what lies there without one is half written."""
        weights = gathered(self.trainer)
        if not self.trainer.args.should_save:
            return
        folder = self.trainer.job.state / BEST
        shutil.rmtree(folder, ignore_errors=True)
        save(self.trainer, weights, folder)
        write_json(folder / NOTE, {"step": step, "dev": value, "hash": weights_hash(weights)})


def read_best(folder: Path) -> dict[str, Any]:
    """The note of a whole `best` folder, or {}."""
    file = folder / NOTE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def share(rows: list[Any], rank: int, processes: int) -> tuple[list[Any], int]:
    """This process's rows and how many of them count: all processes get equally many, the last ones repeated."""
    size = -(-len(rows) // processes)
    mine = rows[rank * size : (rank + 1) * size]
    return mine + [rows[0]] * (size - len(mine)), len(mine)


def summed(trainer: Any, total: float, count: float) -> float:
    """Mean over all processes of what each summed up; NaN where nothing counted."""
    total, count = of_all(trainer, total, count).sum(0).tolist()
    return total / count if count else float("nan")


def of_all(trainer: Any, *figures: float) -> torch.Tensor:
    """(processes, figures): what every process has of each, float32. All must call it."""
    mine: torch.Tensor = trainer.accelerator.gather(torch.tensor([figures], device=trainer.args.device))
    return mine
