"""A training as it runs: log.jsonl and rollouts.jsonl grow with every step, and where a step's time goes is known."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pastcli import api
from pastcli.files import read_lines, write_lines

SAMPLED = 4
"""Rollouts written of each step: all answers of one group would hide that groups differ, one each that answers do."""

_NAMES = {
    "step": "step",
    "loss": "loss",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "num_tokens": "tokens",
    "tokens_per_second": "tokens_per_second",
    "reward": "reward",
    "reward_std": "reward_std",
    "kl": "kl",
    "frac_reward_zero_std": "dead_groups",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "clipped",
    "repetition": "repetition",
    "entropy": "entropy",
    "rows": "rows",
    "rows_trained": "rows_trained",
    "passes": "passes",
    "dev": "dev",
    "rollout_tokens": "rollout_tokens",
    "rollout_tokens_per_second": "rollout_tokens_per_second",
}
"""Metrics kept from TRL's log, and what the log calls them; `dead_groups` is the share without an advantage."""

Grades = Sequence[float | None]
"""What a reward gave each answer; None where it could not grade one."""

EPISODES = "episodes/"
"""Begins the names of what describes the episodes of a step; they are kept under their own names."""


class Clock:
    """Seconds spent in named parts of a step; a part inside another is taken off the outer one."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = self._began = time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        self._turn()
        self._open.append(part)
        try:
            yield
        finally:
            self._turn()
            self._open.remove(part)

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._open:
            self._spent[self._open[-1]] += now - self._since
        self._since = now

    def take(self) -> dict[str, float]:
        """`seconds_PART` of each part since the last call, and `seconds` of wall time."""
        self._turn()
        now = time.perf_counter()
        parts = {f"seconds_{part}": round(spent, 4) for part, spent in self._spent.items()}
        wall = round(now - self._began, 4)
        self._spent.clear()
        self._began = now
        return {**parts, "seconds": wall}


def logged(entry: dict[str, float]) -> dict[str, float]:
    """One step as log.jsonl has it."""
    kept = {name: entry[key] for key, name in _NAMES.items() if entry.get(key) is not None}
    rewards = {key.removesuffix("/mean"): entry[key] for key in entry if _of_one_reward(key)}
    rewards |= {key: entry[key] for key in entry if key.startswith(EPISODES)}
    return kept | rewards | {key: entry[key] for key in entry if key.startswith("seconds")}


def _of_one_reward(key: str) -> bool:
    return key.startswith("rewards/") and key.endswith("/mean") and key != "rewards/reward/mean"


def logged_steps(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    return [logged(entry) for entry in history if "loss" in entry]


class Watch(TrainerCallback):
    """Writes the files of rank 0 and hands step, total and the latest metrics to the job's progress.

    A resumed run first cuts both files back to the checkpoint it goes on from.
    """

    def __init__(self, folder: Path | None, progress: api.Progress | None):
        self.folder, self.progress = folder, progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.folder is None or not state.is_world_process_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_lines(self.folder / "log.jsonl", logged_steps(state.log_history))
        rollouts = self.folder / "rollouts.jsonl"
        if rollouts.is_file():
            write_lines(rollouts, [row for row in read_lines(rollouts) if row["step"] <= state.global_step])

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        if self.folder is not None:
            write_lines(self.folder / "log.jsonl", [logged({**logs, "step": state.global_step})], "a")
        if self.progress:
            shown = {key: logs[key] for key in ("loss", "reward") if isinstance(logs.get(key), (int, float))}
            self.progress(state.global_step, state.max_steps, shown)

    def rollouts(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write what was sampled of a step."""
        if self.folder is not None:
            write_lines(self.folder / "rollouts.jsonl", rows, "a")


def sampled(
    step: int,
    first: int,
    whole: int,
    prompts: Sequence[str],
    completions: Sequence[str],
    columns: dict[str, Any],
    by_name: Mapping[str, Grades],
    total: Grades,
) -> list[dict[str, Any]]:
    """Some answers of a step with what each reward gave them, spread over all of them: those that are among these, of which `first`
    is the number of the first, of `whole` in the step."""
    spread = range(0, whole, max(1, whole // SAMPLED))[:SAMPLED]
    return [
        {
            "step": step,
            "id": columns.get("id", [None] * len(prompts))[row],
            "prompt": prompts[row],
            "completion": completions[row],
            "reward": total[row],
            "rewards": {name: values[row] for name, values in by_name.items()},
            **_episode(columns, row),
        }
        for row in (number - first for number in spread)
        if 0 <= row < len(prompts)
    ]


def _episode(columns: dict[str, Any], row: int) -> dict[str, Any]:
    """A whole episode with its verdict, where the answers are such."""
    if "episode" not in columns:
        return {}
    episode, verdict = columns["episode"][row], columns["verdict"][row]
    told = {"status": episode.status, "answer": episode.answer, "verdict": [verdict.label, verdict.reason]}
    return {"episode": {**told, "steps": [step.to_dict() for step in episode.steps]}}


def repetition(texts: Sequence[str]) -> float:
    """Mean share of word 3-grams that were there before in the same text; 0 where there are fewer than two."""
    shares = []
    for text in texts:
        words = text.split()
        grams = list(zip(words, words[1:], words[2:]))
        shares.append(1 - len(set(grams)) / len(grams) if len(grams) > 1 else 0.0)
    return sum(shares) / len(shares) if shares else 0.0
