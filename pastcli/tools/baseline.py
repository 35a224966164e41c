"""What a program that knows nothing would score: the floor under every success rate.

It calls each API of a query with `{}`, fills "x" and 1 into whatever the error messages name, and hands over everything it
saw as its answer. A judge under which this program does well says nothing about a model.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..api import Completion, Episode, Observation, Step, Task, ToolEnv, ToolSpec
from .judging.rules import rules

TRIES = 4
"""Calls of one API: an error names what is missing, the next its type, the next its enum."""

_NAMED = re.compile(r'"((?:[^"\\]|\\.)+)"')
_GUESSES: tuple[tuple[str, Any], ...] = (
    ("boolean", True),
    ("integer", 1),
    ("number", 1),
    ("array", ["x"]),
    ("object", {}),
    ("string", "x"),
)


def know_nothing(task: Task, env: ToolEnv) -> Episode:
    """The program's episode: no model, no look at the query, no documentation."""
    steps: list[Step] = []
    seen: list[Any] = []
    for spec in task.tools:
        for arguments, observation in _poke(spec, env):
            steps.append(step_of(len(steps), spec.name, arguments, observation))
            if not observation.error:
                seen.append(observation.response)
    return Episode(task, 0, tuple(steps), "finished", json.dumps(seen, ensure_ascii=False))


def floor(tasks: Sequence[Task], env: ToolEnv) -> dict[str, float | None] | None:
    """What the program scores on these queries under the rules judge: `sopr`, None where none could be graded, and the share
    of `ungraded`.

    None for tools that are not simulated: they are not called for nothing.
    """
    if not getattr(env, "deterministic", False) or not tasks:
        return None
    labels = Counter(rules.judge(know_nothing(task, env)).label for task in tasks)
    earned = labels["Solved"] + 0.5 * labels["Partially Solved"]
    graded = labels["Ungraded"] < len(tasks)
    return {"sopr": earned / len(tasks) if graded else None, "ungraded": labels["Ungraded"] / len(tasks)}


def step_of(index: int, action: str, arguments: Any, observation: Observation) -> Step:
    """A step that no model took."""
    outcome = "invalid" if observation.error else "ok"
    return Step(index, 0, Completion(""), "", action, arguments, (), "", outcome, observation)


def _poke(spec: ToolSpec, env: ToolEnv) -> list[tuple[dict[str, Any], Observation]]:
    """Calls of one API until it gives in: what the errors ask for is filled in."""
    arguments: dict[str, Any] = {}
    made = []
    for _ in range(TRIES):
        observation = env.call(spec, dict(arguments))
        made.append((dict(arguments), observation))
        if not observation.error:
            break
        for fault in observation.error.split("; "):
            named = _NAMED.search(fault)
            if named:
                arguments[json.loads(f'"{named[1]}"')] = _guess(fault)
    return made


def _guess(fault: str) -> Any:
    choices = re.search(r"must be one of (\[.*\])", fault)
    if choices:
        try:
            return json.loads(choices[1])[0]
        except (ValueError, LookupError):
            return "x"
    if "must be" not in fault:
        return "x"
    return next(
        (guess for kind, guess in _GUESSES if f" {kind}" in fault.split("must be", 1)[1].split(", not")[0]), "x"
    )
