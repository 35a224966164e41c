"""Rewards for episodes of tool calls, gated: what is paid is a right call or a solved task, never the look of one.

A reward here is `f(prompts, completions, *, episode, verdict, **columns) -> list[float | None]`: one number an episode.
`first_calls` pays for what the model knew before any error message told it; `verdict` is the judge's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...api import Episode, Verdict
from .answers import dumps, to_the_point
from .calls import score

LABELS = {"Solved": 1.0, "Partially Solved": 0.5, "Unsolved": 0.0}


def first_calls(
    prompts: Sequence[str], completions: Sequence[str], *, episode: Sequence[Episode], **columns: Any
) -> list[float | None]:
    """Share of the calls a good run makes that were right at the first attempt, less for every function it did not need and
    for every call that asks again what was answered.

    None for a query of which nobody said what a good run calls.
    """
    return [score(one) for one in episode]


def verdict(
    prompts: Sequence[str],
    completions: Sequence[str],
    *,
    episode: Sequence[Episode],
    verdict: Sequence[Verdict],
    **columns: Any,
) -> list[float | None]:
    """1 for Solved, 0.5 for Partially Solved, 0 for Unsolved; None for what the judge cannot grade.

    A judge asked a thousand times will be found out: an answer that is a copy of what a tool said earns nothing here,
    whatever its label, and one that says in sentences what nobody asked for earns less the more it tells of that
    (`answers.to_the_point`).
    """
    return [_paid(one, label) for one, label in zip(episode, verdict, strict=True)]


def _paid(episode: Episode, verdict: Verdict) -> float | None:
    value = LABELS.get(verdict.label)
    if not value:
        return value
    return 0.0 if dumps(episode) else value * to_the_point(episode)
