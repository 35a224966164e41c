"""What reinforcement learning on tools hands over: whole episodes, with the tokens that the policy chose in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from .chat import TokenModel
from .tools import Episode, Verdict

Timed = Callable[[str], AbstractContextManager[None]]
"""`with timed("tools"): …` counts the block as that part of a step."""


@dataclass(frozen=True)
class Rollout:
    """One episode as its policy saw it. `completion_ids` is everything after the opening prompt; `mask` (same length) is 1
    where the policy sampled the token and 0 where an observation or the template put it.

    `figures` describe the episode's behaviour by name; None where a figure does not apply.
    """

    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]
    mask: Sequence[int]
    episode: Episode
    verdict: Verdict
    figures: Mapping[str, float | None] = field(default_factory=dict)


class Episodes(Protocol):
    """Plays the tasks of a training. It can be pickled: every process of a training opens its own tools."""

    def openings(self, model: TokenModel) -> dict[str, int]:
        """Tokens of each task's opening prompt, by task id."""

    def play(self, model: TokenModel, asked: Sequence[tuple[str, int]], seed: int, timed: Timed) -> list[Rollout]:
        """An episode for each (task id, attempt), all of them under way together; the same for the same seed.

        A crash of the tools or of the judge raises `PastError`: no episode is ever scored for it.
        """

    def close(self) -> None:
        """Let go of tools and judge. Safe to call twice."""
