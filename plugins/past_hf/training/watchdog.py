"""Stops a training that can no longer learn, and says why: each rule looks at what the log already has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from pastcli.errors import PastError

from .watch import logged, logged_steps

Step = dict[str, float]
Reason = tuple[str, str]
"""What is wrong, and what may mend it."""


def not_finite(log: Sequence[Step], patience: int) -> Reason | None:
    """The loss or the gradient's norm is NaN or infinite."""
    for name in ("loss", "grad_norm"):
        if not math.isfinite(log[-1].get(name, 0.0)):
            return f"the {name.replace('_', ' ')} is {log[-1][name]}", "lower --lr or --clip, or use --precision fp32"
    return None


LEARNED = (
    "if that is all there is to earn, it has learned what this reward teaches; is it what you want? See rollouts.jsonl"
)


def _rewards(log: Sequence[Step], patience: int) -> tuple[float, float]:
    """Mean reward of the first and of the last `patience` steps."""
    first, last = (_mean([step.get("reward", 0.0) for step in steps]) for steps in (log[:patience], log[-patience:]))
    return first, last


def dead_groups(log: Sequence[Step], patience: int) -> Reason | None:
    """All answers to every question earned the same reward, `patience` steps long: no advantage, no gradient."""
    last = log[-patience:]
    if len(last) < patience or any(step.get("dead_groups", 0.0) < 1.0 for step in last):
        return None
    first, mean = _rewards(log, patience)
    what = f"in {patience} steps on end all answers to each question earned the same reward ({mean:.3g} on average"
    if mean > 2 * first:
        return f"{what}, {first:.3g} at first)", LEARNED
    return (
        f"{what})",
        "see rollouts.jsonl: can the reward tell these answers apart? Then answers must differ more "
        "(--temperature, --num-generations) or be right sometimes (more SFT, the answer format)",
    )


def ungraded(log: Sequence[Step], patience: int) -> Reason | None:
    """No reward could grade any answer, `patience` steps long."""
    last = log[-patience:]
    if len(last) < patience or any("dead_groups" not in step or "reward" in step for step in last):
        return None
    return (
        f"in {patience} steps on end no reward could grade any answer",
        "a reward gives None for these: see rollouts.jsonl; do the questions hold what it compares answers with?",
    )


def collapsed_entropy(log: Sequence[Step], patience: int) -> Reason | None:
    """The answers' entropy is below a hundredth of where it began: sampling draws the same answer again and again."""
    rows = [step["entropy"] for step in log if "entropy" in step and "reward" in step]
    if len(rows) < 2 * patience:
        return None
    first, last = _mean(rows[:patience]), max(rows[-patience:])
    if last >= 0.01 * first:
        return None
    what = f"the entropy of the answers fell from {first:.3g} to {last:.3g} nats"
    mend = "lower --lr, or hold on with --beta"
    before, now = _rewards(log, patience)
    if now > 2 * before:  # a policy that has found all there is to earn ends like this as well
        return f"{what}, while the reward rose from {before:.3g} to {now:.3g}", f"{LEARNED}; else {mend}"
    return what, mend


def exploding_length(log: Sequence[Step], patience: int) -> Reason | None:
    """Answers are three times as long as they began, and nearly all are cut off."""
    rows = [(step["completion_length"], step.get("clipped", 0.0)) for step in log if "completion_length" in step]
    if len(rows) < 2 * patience:
        return None
    first, last = _mean([length for length, _ in rows[:patience]]), rows[-patience:]
    if min(length for length, _ in last) < 3 * first or min(cut for _, cut in last) < 0.95:
        return None
    return (
        f"answers grew from {first:.0f} to {last[-1][0]:.0f} tokens and are cut off at --max-new-tokens",
        "the reward pays for length: see rollouts.jsonl, and audit it",
    )


def repetition(log: Sequence[Step], patience: int) -> Reason | None:
    """More than half of the answers' word triples repeat earlier ones, and did not at first."""
    rows = [step["repetition"] for step in log if "repetition" in step]
    if len(rows) < 2 * patience or min(rows[-patience:]) < 0.5 or _mean(rows[:patience]) > 0.25:
        return None
    return (
        f"answers repeat themselves: {rows[-1]:.0%} of their word triples, {_mean(rows[:patience]):.0%} at first",
        "the reward pays for repetition: see rollouts.jsonl, and audit it",
    )


Rule = Callable[[Sequence[Step], int], Reason | None]
RULES: tuple[Rule, ...] = (not_finite, ungraded, dead_groups, collapsed_entropy, exploding_length, repetition)


RESOLUTION = torch.finfo(torch.float32).eps


class Watchdog(TrainerCallback):
    """Asks the rules after every step, and every `patience` steps whether any weight has moved. Raises `PastError`."""

    def __init__(self, patience: int, rules: Sequence[Rule] = RULES, folder: Path | None = None):
        self.patience, self.rules = patience, rules
        self.kept = f"; log and sampled answers: {folder}" if folder else ""
        self.log: list[Step] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.log = logged_steps(state.log_history)
        self.first = _samples(model)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict | None = None, model: Any = None, **_: Any
    ) -> None:
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return  # of several processes the one that writes the log: it has written this step when it stops
        self.log.append(logged({**logs, "step": state.global_step}))
        for rule in self.rules:
            if reason := rule(self.log, self.patience):
                self._stop(state.global_step, *reason)
        if len(self.log) % self.patience == 0:
            now = _samples(model)
            if not moved(self.first, now):
                self._stop(state.global_step, f"no weight moved in {self.patience} steps", "raise --lr")
            self.first = now

    def _stop(self, step: int, what: str, mend: str) -> None:
        raise PastError(
            f"stopped at step {step}, it cannot learn like this: {what}",
            f"{mend}; --resume --no-watchdog goes on regardless{self.kept}",
        )


def moved(before: Sequence[torch.Tensor], now: Sequence[torch.Tensor]) -> bool:
    """Whether any tensor changed by more than float32 can tell of weights of its size, root mean squares compared.

    Not every change counts: one of 1e-30 to a row of zeros (padding) is there in float32. A tensor that is near zero itself, as the
    B of a LoRA or a bias when training begins, is held against a thousandth of what all are like. (What 16 bits hold changes
    by more than this where it changes at all.)
    """
    overall = _rms(torch.cat([tensor.float() for tensor in before])) if before else 0.0
    return any(
        _rms(b.float() - a.float()) > RESOLUTION * max(_rms(a), 1e-3 * overall)
        for a, b in zip(before, now, strict=True)
        if a.numel()
    )


def _rms(tensor: torch.Tensor) -> float:
    return tensor.double().square().mean().sqrt().item()


def _samples(model: Any, size: int = 256) -> list[torch.Tensor]:
    """The first weights of every trained tensor that this process holds."""
    found = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            local = getattr(parameter.data, "_local_tensor", parameter.data)
            found.append(local.flatten()[:size].clone())
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
