"""Several rewards of one answer as one number: each graded or not, then weighed. Used by training and by the audit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .api import Reward
from .errors import CRASHES, PASSING, PastError, said
from .words import counted

LARGEST = 1e15
"""The largest reward. Groups are compared in single precision by their spread, whose square must be a number."""

Rewards = Sequence[tuple[str, float, Reward]]
"""(name, weight, reward) each."""


def graded(
    name: str, function: Reward, prompts: Sequence[str], completions: Sequence[str], columns: dict[str, Any]
) -> list[float | None]:
    """The values of one reward. Raises `PastError` naming it for an exception or a malformed result: a failing
    reward is never scored as 0."""
    try:
        # Lists of its own: one that changes what it is given must not change what others grade.
        own = {key: list(column) if isinstance(column, list) else column for key, column in columns.items()}
        values = list(function(list(prompts), list(completions), **own))
    except PASSING:
        raise
    except CRASHES as error:
        raise PastError(
            f"reward {name!r} failed: {said(error)}",
            "a failing reward is never scored as 0; return None for what cannot be graded",
        ) from error
    numbers = [value for value in values if value is not None]
    if len(values) != len(completions):
        raise PastError(f"reward {name!r} gave {len(values)} values for {counted(len(completions), 'answers')}")
    if not all(_is_finite(value) for value in numbers):
        raise PastError(f"reward {name!r} gave something that is no finite number", "return floats, or None")
    if any(abs(value) > LARGEST for value in numbers):
        raise PastError(
            f"reward {name!r} gave {max(numbers, key=abs):.3g}", f"nothing beyond {LARGEST:.0g} can be told apart"
        )
    return values


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def weighted(values: Sequence[Sequence[float | None]], weights: Sequence[float]) -> list[float | None]:
    """Sum over the rewards (outer index) of weight x value, for each answer.

    What could not be graded (None) leaves its weight to the others of that answer: the sum is scaled by
    sum |w| / sum |w of what was graded|. An answer that nothing graded stays None.
    """
    table = np.array([[math.nan if v is None else v for v in column] for column in values], dtype=np.float32).T
    weight = np.array(weights, dtype=np.float32)
    known = ~np.isnan(table)
    share = (known * np.abs(weight)).sum(1)
    total = np.where(known, table * weight, np.float32(0)).sum(1)
    partly = ~known.all(1) & (share > 0)
    total[partly] *= np.abs(weight).sum() / share[partly]
    return [value if some else None for value, some in zip(total.tolist(), (share > 0).tolist(), strict=True)]


def total(
    rewards: Rewards, prompts: Sequence[str], completions: Sequence[str], columns: dict[str, Any]
) -> list[float | None]:
    """What each answer earns in all."""
    values = [graded(name, function, prompts, completions, columns) for name, _, function in rewards]
    return weighted(values, [weight for _, weight, _ in rewards])
