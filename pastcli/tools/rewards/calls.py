"""Which calls of an episode were right at the first attempt.

A call is right if its function is one that a good run calls, the tool took its arguments, and every value comes from the
query, an earlier observation or the documentation; where the task names the values, if they are those. The first
attempt at a function is the first turn that names it, whatever became of it: later ones have been told what was wrong.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ...api import Episode, Step
from ..judging.arguments import counted
from ..judging.expected import missing_calls
from ..judging.failures import failed
from .repeats import repeats


def score(episode: Episode) -> float | None:
    """right / (wanted + strangers + repeats): of the calls a good run makes, how many were right at the first attempt, over
    their number, that of the functions tried that it does not need, and that of the calls that asked again what had been
    answered. 0 without a right call; None if nobody said what is wanted."""
    wanted = wanted_calls(episode)
    if not wanted:
        return None
    return right_first_calls(episode) / (sum(wanted.values()) + len(strangers(episode)) + repeats(episode))


def wanted_calls(episode: Episode) -> Counter[str]:
    """How many calls a good run makes of each function, by its shown name."""
    task = episode.task
    names = {spec.key: spec.name for spec in task.tools}
    if task.expected_calls:
        return Counter(names[call.key] for call in task.expected_calls if call.key in names)
    return Counter({names[key]: 1 for key in task.relevant if key in names})


def first_attempts(episode: Episode) -> list[Step]:
    """The turns that named a wanted function for the first time; as many of each as are wanted of it."""
    left = wanted_calls(episode)
    found = []
    for step in episode.steps:
        if left[step.action] > 0:
            left[step.action] -= 1
            found.append(step)
    return found


def right_first_calls(episode: Episode) -> int:
    """How many of the first attempts were right."""
    firsts = first_attempts(episode)
    if episode.task.expected_calls:
        only = replace(episode, steps=tuple(firsts))
        return len(episode.task.expected_calls) - len(missing_calls(only))
    places = {step.index for step in firsts}
    return sum(
        step.index in places
        and not judged.invented
        and step.observation is not None
        and not failed(step.observation.response)
        for step, _, judged in counted(episode)
    )


def strangers(episode: Episode) -> set[str]:
    """Functions tried that a good run does not call, those that do not exist among them."""
    wanted = wanted_calls(episode)
    return {step.action for step in episode.steps if step.action and step.outcome != "finish"} - set(wanted)
