"""All rewards of a run as the one function TRL calls: their weighted sum, and what it was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pastcli.grading import Rewards, graded, weighted

from .watch import repetition

_TRAINER_COLUMNS = ("completion_ids", "trainer_state", "log_extra", "log_metric")


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
