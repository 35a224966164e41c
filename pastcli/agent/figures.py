"""One attempt in figures: the row of a table that others can compute with, by query, category or tool."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..api import Episode, Step, Task, ToolSpec, Verdict
from .player import Result


def figures(result: Result, also: Mapping[str, Verdict], grounding: float | None) -> dict[str, Any]:
    """What one attempt came to. `also` are the verdicts of further judges, `grounding` the share of the values in its valid
    calls that come from somewhere (None if there were none).

    `first_call_recall` is, over the APIs that a good run calls and that have required parameters, the share of these which
    the *first* call of the API named: an error message names what is missing, so later calls show nothing. An API that was
    never called counts 0, so a model cannot gain by not calling. `first_call_f1` is the harmonic mean of that share with the
    share of the named arguments that the API has: whoever names all that an API might require gains recall and loses there.
    `first_call_valid`: the first call was accepted as it was.
    """
    episode, calls = result.episode, [s for s in result.episode.steps if s.outcome in ("ok", "invalid", "unknown")]
    wanted = _wanted(episode.task)
    firsts = [(spec, _first(spec, episode)) for spec in wanted]
    return {
        "query": episode.task.id,
        "attempt": episode.attempt,
        "category": wanted[0].category if wanted else "",
        "tool": wanted[0].tool if wanted else "",
        "status": episode.status,
        "verdict": result.verdict.label,
        "reason": result.verdict.reason,
        "also": {name: verdict.label for name, verdict in also.items()},
        "turns": len(episode.steps),
        "calls": len(calls),
        "valid_calls": sum(step.outcome == "ok" for step in calls),
        "hallucinated_calls": sum(step.outcome == "unknown" for step in calls),
        "malformed_turns": sum(step.outcome == "malformed" for step in episode.steps),
        "right_function": _mean([float(step is not None) for _, step in firsts]),
        "first_call_recall": first_call_recall(episode),
        "first_call_f1": first_call_f1(episode),
        "first_call_valid": _mean([float(step is not None and step.outcome == "ok") for _, step in firsts]),
        "argument_grounding": grounding,
    }


def first_call_recall(episode: Episode) -> float | None:
    """As in `figures`; None if nobody said which APIs a good run calls, or none of them requires anything."""
    return _mean([named_share(spec, _first(spec, episode)) for spec in needing(episode.task)])


def first_call_f1(episode: Episode) -> float | None:
    """As in `figures`; None where `first_call_recall` is."""
    return _mean([f1(spec, _named(_first(spec, episode))) for spec in needing(episode.task)])


def needing(task: Task) -> list[ToolSpec]:
    """The APIs that a good run calls and that require something."""
    return [spec for spec in _wanted(task) if any(parameter.required for parameter in spec.parameters)]


def _wanted(task: Task) -> list[ToolSpec]:
    return [spec for spec in task.tools if spec.key in set(task.relevant)]


def _first(spec: ToolSpec, episode: Episode) -> Step | None:
    """The first call of an API, right or wrong."""
    return next((s for s in episode.steps if s.action == spec.name and s.outcome in ("ok", "invalid")), None)


def named_share(spec: ToolSpec, step: Step | None) -> float:
    """Of the parameters that an API requires, the share that a call named; 0 without a call."""
    return recall(spec, _named(step))


def recall(spec: ToolSpec, names: Collection[str]) -> float:
    """The share of an API's required parameters that is among `names`; it has at least one."""
    required = {parameter.name for parameter in spec.parameters if parameter.required}
    return len(required & _known(spec, names)) / len(required)


def f1(spec: ToolSpec, names: Collection[str]) -> float:
    """The harmonic mean of `recall` and of the share of `names` that the API has."""
    found = recall(spec, names)
    precision = len(_known(spec, names)) / len(names) if names else 0.0
    return 2 * found * precision / (found + precision) if found else 0.0


def _known(spec: ToolSpec, names: Collection[str]) -> set[str]:
    """The API's parameters of these names, as shown."""
    return {parameter.name for name in names if (parameter := spec.parameter(name)) is not None}


def _named(step: Step | None) -> Collection[str]:
    return step.arguments if step is not None and isinstance(step.arguments, dict) else ()


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
