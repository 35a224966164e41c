"""All rewards of a run as the one function TRL calls: their weighted sum, and what it was made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pastcli import api
from pastcli.errors import PastError

from .watch import repetition

_TRAINER_COLUMNS = ("completion_ids", "trainer_state", "log_extra", "log_metric")
Rewards = Sequence[tuple[str, float, api.Reward]]


def graded(
    name: str, function: api.Reward, prompts: Sequence[str], completions: Sequence[str], columns: dict[str, Any]
) -> list[float | None]:
    """The values of one reward. Raises `PastError` naming it for an exception or a malformed result: a failing
    reward is never scored as 0."""
    try:
        values = list(function(prompts, completions, **columns))
    except Exception as error:
        raise PastError(
            f"reward {name!r} failed: {type(error).__name__}: {error}",
            "a failing reward is never scored as 0; return None for what cannot be graded",
        ) from error
    numbers = [value for value in values if value is not None]
    if len(values) != len(completions):
        raise PastError(f"reward {name!r} gave {len(values)} values for {len(completions)} answers")
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in numbers):
        raise PastError(f"reward {name!r} gave something that is no finite number", "return floats, or None")
    return values


def weighted(values: Sequence[Sequence[float | None]], weights: Sequence[float]) -> list[float | None]:
    """Sum over the rewards (outer index) of weight x value, for each answer.

    What could not be graded (None) leaves its weight to the others of that answer: the sum is scaled by
    sum |w| / sum |w of what was graded|. An answer that nothing graded stays None.
    """
    table = torch.tensor([[math.nan if v is None else v for v in column] for column in values], dtype=torch.float32).T
    weight = torch.tensor(weights, dtype=torch.float32)
    known = ~table.isnan()
    share = (known * weight.abs()).sum(1)
    total = (table * weight).nansum(1)
    partly = ~known.all(1) & (share > 0)
    total[partly] *= weight.abs().sum() / share[partly]
    return [value if some else None for value, some in zip(total.tolist(), (share > 0).tolist(), strict=True)]


def combined(rewards: Rewards, seen: Callable[..., None], timed: Callable[[str], Any]) -> Callable[..., list]:
    """The reward function of a run. `seen(prompts, completions, columns, by_name, total)` gets every batch that was graded."""

    def reward(prompts: Sequence[str], completions: Sequence[str], **given: Any) -> list[float | None]:
        columns = {key: value for key, value in given.items() if key not in _TRAINER_COLUMNS}
        with timed("reward"):
            by_name = {name: graded(name, function, prompts, completions, columns) for name, _, function in rewards}
            total = weighted(list(by_name.values()), [weight for _, weight, _ in rewards])
        if log := given.get("log_metric"):
            log("repetition", repetition(completions))
            for name, values in by_name.items():
                for value in values:
                    if value is not None:
                        log(f"rewards/{name}/mean", value)
        seen(prompts, completions, columns, by_name, total)
        return total

    return reward
