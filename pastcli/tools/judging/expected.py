"""Grading by what a task itself expects: calls with their arguments, an answer, or a Python check of the user's own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from ...api import Episode, ExpectedCall, Verdict
from ...errors import CRASHES, PASSING, PastError, UsageError, said
from .dates import clocks, dates
from .facts import Facts
from .sources import Said
from .stated import unstated
from .text import plain

SOLVED, PARTIALLY, UNSOLVED = "Solved", "Partially Solved", "Unsolved"
UNKNOWN = "the run ended without an answer"


def expectations(episode: Episode) -> Verdict:
    """Solved if everything the task expects came about, Partially if some of it did.

    Raises `PastError` if the task's own check crashes: a run graded by a broken check would be no evidence.
    """
    task, met, unmet = episode.task, 0, []
    missing = missing_calls(episode)
    met += len(task.expected_calls) - len(missing)
    unmet += [f"call of {call.key[2]} not made as expected" for call in missing]
    if tries(episode) > 2 * len(task.expected_calls) + 2:
        met, unmet = 0, [*unmet, "called with one thing after another until something fitted"]
    if task.expected_answer is not None:
        why = (
            unstated(episode.answer, task.expected_answer, facts_of(episode))
            if episode.status == "finished"
            else UNKNOWN
        )
        met, unmet = met + (not why), [*unmet, *([why] if why else [])]
    if task.check:
        held, why = run_check(task.check, episode)
        met, unmet = met + held, unmet if held else [*unmet, why]
    details = {"met": met, "expected": met + len(unmet)}
    if not unmet:
        return Verdict(SOLVED, "everything expected came about", details)
    return Verdict(PARTIALLY if met else UNSOLVED, " ".join(unmet[0].split()[:18])[:200], details)


def tries(episode: Episode) -> int:
    """How many valid calls were made of functions that are expected to be called."""
    wanted = {spec.name for spec in episode.task.tools for call in episode.task.expected_calls if spec.key == call.key}
    return sum(step.outcome == "ok" and step.action in wanted for step in episode.steps)


def facts_of(episode: Episode) -> Facts:
    """What the run was asked, and what its valid calls said."""
    facts = Facts(Said(episode.task.query))
    for step in episode.steps:
        if step.outcome == "ok" and step.observation is not None:
            facts.add(step.observation.response, 0, step.arguments)
    return facts


def missing_calls(episode: Episode) -> list[ExpectedCall]:
    """The expected calls that no valid call of the episode is; each call serves one expectation, in order."""
    specs = {spec.name: spec for spec in episode.task.tools}
    made = [
        (specs[step.action], step.arguments) for step in episode.steps if step.outcome == "ok" and step.action in specs
    ]
    missing = []
    for wanted in episode.task.expected_calls:
        place = next(
            (n for n, (spec, given) in enumerate(made) if spec.key == wanted.key and is_call(spec, given, wanted)), None
        )
        if place is None:
            missing.append(wanted)
        else:
            made.pop(place)
    return missing


def is_call(spec: Any, given: Any, wanted: ExpectedCall) -> bool:
    if not isinstance(given, dict):
        return False
    values = {(parameter.name if (parameter := spec.parameter(name)) else name): value for name, value in given.items()}
    if set(values) - set(wanted.arguments) or set(wanted.arguments) - set(values) - wanted.optional:
        return False
    return all(
        any(same_value(values[name], right) for right in allowed)
        for name, allowed in wanted.arguments.items()
        if name in values
    )


def same_value(given: Any, right: Any) -> bool:
    """True if two JSON values mean the same: numbers as numbers, texts without case and accents, dates however written."""
    if isinstance(given, bool) or isinstance(right, bool):
        return given is right
    if isinstance(given, (int, float)) and isinstance(right, (int, float)):
        return abs(given - right) <= 1e-9 * max(1.0, abs(right))
    if isinstance(given, list) and isinstance(right, list):
        return len(given) == len(right) and all(same_value(a, b) for a, b in zip(given, right, strict=True))
    if isinstance(given, dict) and isinstance(right, dict):
        return given.keys() == right.keys() and all(same_value(given[name], right[name]) for name in right)
    if given is None or right is None or isinstance(given, (list, dict)) or isinstance(right, (list, dict)):
        return given == right
    if plain(str(given)).split() == plain(str(right)).split():
        return True
    days, other = dates(str(given)), dates(str(right))
    if days and other:
        return len(days) == len(other) and all(a.agrees(b) for a, b in zip(days, other, strict=True))
    times, others = clocks(str(given)), clocks(str(right))
    return (
        bool(times)
        and len(times) == len(others)
        and all(a.minutes & b.minutes for a, b in zip(times, others, strict=True))
    )


def run_check(check: str, episode: Episode) -> tuple[bool, str]:
    """(did it hold, why not) of a user's function: called with the episode, returns a truth value or (truth value, reason)."""
    function = load_check(check)
    try:
        said_so = function(episode)
    except PASSING:
        raise
    except CRASHES as error:  # the user's code may fail in any way, and must not count as a wrong answer
        raise PastError(
            f"the check {check} crashed on query {episode.task.id}: {said(error)}",
            "mend the check; --resume goes on where the run stopped",
        ) from error
    held, why = said_so if isinstance(said_so, tuple) else (said_so, "the check does not hold")
    return bool(held), str(why)


@cache
def load_check(check: str) -> Callable[[Episode], Any]:
    """The function `FILE.py:NAME`. Raises `UsageError` if there is none."""
    path, _, name = check.rpartition(":")
    spec = (
        importlib.util.spec_from_file_location(f"past_check_{abs(hash(path))}", path) if Path(path).is_file() else None
    )
    if spec is None or spec.loader is None:
        raise UsageError(f"no file {path or check!r} for the check {check!r}", "write check as FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return getattr(module, name)
    except PASSING:
        raise
    except CRASHES as error:
        raise UsageError(f"the check {check} cannot be loaded: {said(error)}") from error
