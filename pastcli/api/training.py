"""The types of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .rollouts import Episodes

Progress = Callable[[int, int, Mapping[str, float]], None]
"""progress(done_steps, total_steps, latest metrics)"""


@dataclass(frozen=True)
class TrainJob:
    """What a trainer needs, all of it on disk.

    `model` is an HF directory (fp32 or 16-bit); `examples` a JSONL file: for SFT rows of
    `{"text"}`, `{"prompt", "completion"}`, `{"messages"}` (the last one is the answer to learn) or `{"messages", "parts":
    [{"text", "learn"}]}` (parts of one answer, tokenised one by one as an agent's turns and observations are), for RL rows of `{"prompt", "answer", "answers"}` plus any
    further columns, which reach the rewards. `out` is a directory the trainer creates and fills
    (`model/` or `adapter/` inside it). `state` is where resumable checkpoints live; when it holds one
    and `resume` is set, training continues from it. `config` is the stage's dataclass of `pastcli.config`.
    `watch` is a directory where `log.jsonl` (a line a step) and `rollouts.jsonl` grow while training runs.
    `dev` holds held-out rows of the same kind as `examples`: they are measured while training runs, and choose the result.
    Under `strict` an example that the model cannot hold is an error; otherwise it is left out and said.
    With `episodes`, RL plays them instead of asking for one answer: rows are then `{"prompt", "id"}` with the ids of their tasks,
    and the rewards also get the columns `episode` and `verdict`.
    """

    model: Path
    examples: Path
    out: Path
    state: Path
    config: Any
    resume: bool = False
    progress: Progress | None = None
    rewards: Sequence[tuple[str, float, Reward]] = ()
    watch: Path | None = None
    dev: Path | None = None
    episodes: Episodes | None = None
    strict: bool = False


@dataclass(frozen=True)
class TrainResult:
    """`path` is the HF directory or adapter directory made; `log` one dict a logged step.

    Where held-out rows chose a step before the last, `best_step` is that step, and `last` the directory of the last weights.
    `seconds` are those of all steps, also of a training that was stopped and resumed.
    """

    path: Path
    kind: str
    steps: int
    tokens: int
    seconds: float
    initial_hash: str
    final_hash: str
    log: list[dict[str, float]] = field(default_factory=list)
    last: Path | None = None
    best_step: int | None = None


class Trainer(Protocol):
    """The `past.trainers` role.

    It may also have `plan(stage, model, rows, config, card_gb) -> dict`, which `--dry-run` prints: figures by name, tables
    as `memory_gb`, `disk_gb`, `seconds`, and a list `would_fit` of {"with", "peak_gb"}; and `refuse(stage, config, episodes)`, which
    raises `UsageError` for settings that no training of its takes, so that `--dry-run` refuses them too. One that works over several machines
    has `joins(config) -> int`, which of them this is, and `join(config) -> Path`, which works in the run that machine 0 makes
    until it ends, and gives its directory.
    """

    name: str

    def sft(self, job: TrainJob) -> TrainResult: ...

    def rl(self, job: TrainJob) -> TrainResult: ...


class Reward(Protocol):
    """The `past.rewards` role; `None` marks an item that cannot be graded (never silently 0)."""

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]: ...
