"""Runs that begin with a wrong call and mend it: a model taught by nothing but right calls does not try again after an error."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from ..api import Episode, Step, Task, ToolEnv, ToolSpec
from .episode import called

MENDS = "That call was refused. I mend it."


def with_mistake(episode: Episode, share: float, seed: int, env_of: Callable[[Task], ToolEnv]) -> Episode:
    """The run with a wrong first call before it, for `share` of all runs (drawn by their queries); else as it is.

    The wrong call is one that this run's model could make: a word of the function's name is missing, a required argument is left
    out, called otherwise, or given a value of another type. What it observes is what `past agent` would show in the environment `env_of` the query. Its tokens are read and not learnt (`examples.row`).
    """
    draw = random.Random(f"{seed}|mistake|{episode.task.id}")
    first = episode.steps[0]
    if draw.random() >= share or first.outcome != "ok":
        return episode
    env = env_of(episode.task)
    wrong = list(_wrong(first, episode))
    draw.shuffle(wrong)
    for action, arguments in wrong:
        outcome, seen = called(action, arguments, episode.task, env)
        if outcome in ("unknown", "invalid"):
            slip = replace(first, action=action, arguments=arguments, outcome=outcome, observation=seen)
            rest = [replace(first, thought=MENDS), *episode.steps[1:]]
            steps = (slip, *(replace(step, index=place) for place, step in enumerate(rest, 1)))
            return replace(episode, steps=steps)
    return episode


def _wrong(step: Step, episode: Episode) -> Iterator[tuple[str, dict[str, Any]]]:
    """(function, arguments) of calls that are nearly the right one."""
    words = step.action.split("_")
    for place in range(len(words) if len(words) > 2 else 0):
        yield "_".join(words[:place] + words[place + 1 :]), step.arguments
    spec = next(spec for spec in episode.task.tools if spec.name == step.action)
    for parameter in spec.parameters:
        if parameter.required and parameter.name in step.arguments:
            others = {name: value for name, value in step.arguments.items() if name != parameter.name}
            yield step.action, others
            yield step.action, {_otherwise(parameter.name, spec): step.arguments[parameter.name], **others}
    for name, value in step.arguments.items():
        yield step.action, {**step.arguments, name: _of_another_type(value)}


def _of_another_type(value: Any) -> Any:
    """As a model gets types wrong: a number or a truth in quotes, a list as one text, a single text as a list."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return [value]


def _otherwise(name: str, spec: ToolSpec) -> str:
    """A name for the argument that is none of the function's."""
    own = {parameter.name for parameter in spec.parameters}
    last = name.rsplit("_", 1)[-1]
    return next(other for other in (last, "id", "query", "value", f"the_{name}") if other not in own)
