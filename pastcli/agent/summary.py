"""Figures of a run: how many queries were solved, and the judge-free numbers that explain it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from ..api import Episode, Step, ToolSpec
from ..stats import wilson
from .figures import first_call_f1, first_call_recall, named_share
from .player import Result

SCORES = {"Solved": 1.0, "Partially Solved": 0.5, "Unsolved": 0.0}
"""StableToolBench's solvable pass rate (2403.07714); an `Ungraded` attempt has no score."""


def summarise(results: Sequence[Result], queries: int) -> dict[str, Any]:
    """The summary document. `queries` is how many were selected: the denominator of SoPR, whatever happened to them.

    `sopr` has a 95 % Wilson interval over queries, a query's score being the mean over its attempts. Attempts that
    the judge cannot grade count as not solved there, and as solved in `sopr_at_most`: the truth is between the two.
    `sopr_graded` leaves them out and `ungraded` gives their share; the others are null when nothing could be graded. Rates
    are null when there was nothing to count.
    """
    grades = _by_query(results)
    graded = [[score for score in scores if score is not None] for scores in grades.values()]
    means = [sum(scores) / len(scores) for scores in graded if scores]
    earned = sum(sum(found) / len(scores) for found, scores in zip(graded, grades.values(), strict=True))
    open_share = sum(1 - len(found) / len(scores) for found, scores in zip(graded, grades.values(), strict=True))
    low, high = wilson(earned, queries)[1:] if means else (None, None)
    attempts = max((len(scores) for scores in grades.values()), default=0)
    document: dict[str, Any] = {
        "queries": queries,
        "episodes": len(results),
        "sopr": earned / queries if means else None,
        "sopr_low": low,
        "sopr_high": high,
        "sopr_at_most": (earned + open_share) / queries if means else None,
        "sopr_graded": sum(means) / len(means) if means else None,
        "ungraded": _share(result.verdict.label not in SCORES for result in results),
        "labels": dict(Counter(result.verdict.label for result in results)),
    }
    if attempts > 1:
        document[f"pass^{attempts}"] = sum(scores == [1.0] * attempts for scores in grades.values()) / queries
    return document | _behaviour([result.episode for result in results])


def _by_query(results: Sequence[Result]) -> dict[str, list[float | None]]:
    grades: dict[str, list[float | None]] = {}
    for result in results:
        grades.setdefault(result.episode.task.id, []).append(SCORES.get(result.verdict.label))
    return grades


def _behaviour(episodes: Sequence[Episode]) -> dict[str, Any]:
    """What the judge has no say in. `first_call_parameter_recall` is over the calls that were made, `first_call_recall` over
    the APIs that a good run calls, where one never called counts 0; so is `first_call_f1`. `repairs` are of turns that could be
    read then: one that was tried on a turn without a call mended nothing."""
    steps = [step for episode in episodes for step in episode.steps]
    calls = [step for step in steps if step.outcome in ("ok", "invalid", "unknown")]
    return {
        "statuses": dict(Counter(episode.status for episode in episodes)),
        "finish_rate": _share(episode.status == "finished" for episode in episodes),
        "calls": len(calls),
        "valid_call_rate": _share(step.outcome == "ok" for step in calls),
        "first_call_parameter_recall": _mean(
            r for episode in episodes for r in _parameter_recalls(episode, first=True)
        ),
        "first_call_recall": _mean(r for r in map(first_call_recall, episodes) if r is not None),
        "first_call_f1": _mean(r for r in map(first_call_f1, episodes) if r is not None),
        "parameter_recall": _mean(recall for episode in episodes for recall in _parameter_recalls(episode)),
        "relevant_api_recall": _mean(_relevant_recall(episode) for episode in episodes if episode.task.relevant),
        "hallucinated_calls": sum(step.outcome == "unknown" for step in steps),
        "malformed_turns": sum(step.outcome == "malformed" for step in steps),
        "repairs": dict(Counter(repair for step in steps if not step.error for repair in step.repairs)),
        "turns": len(steps),
        "prompt_tokens": sum(step.completion.prompt_tokens for step in steps),
        "evaluated_tokens": sum(step.completion.evaluated_tokens for step in steps),
        "completion_tokens": sum(step.completion.completion_tokens for step in steps),
        "model_seconds": round(sum(step.completion.seconds for step in steps), 3),
    }


def _tool(episode: Episode, step: Step) -> ToolSpec | None:
    return next((spec for spec in episode.task.tools if spec.name == step.action), None)


def _parameter_recalls(episode: Episode, first: bool = False) -> Iterable[float]:
    """For each call of an API with required parameters, the share of them that the model named.

    With `first` only the first call of each API counts: it alone shows what the model knew, since errors name what is missing.
    """
    called: set[str] = set()
    for step in episode.steps:
        if first and step.action in called:
            continue
        called.add(step.action)
        spec = _tool(episode, step) if step.outcome in ("ok", "invalid") else None
        if spec and any(parameter.required for parameter in spec.parameters):
            yield named_share(spec, step)


def _relevant_recall(episode: Episode) -> float:
    """Share of the APIs a good run calls that were called validly."""
    valid = [_tool(episode, step) for step in episode.steps if step.outcome == "ok"]
    called = {spec.key for spec in valid if spec is not None}
    return len(called & set(episode.task.relevant)) / len(episode.task.relevant)


def _share(values: Iterable[bool]) -> float | None:
    return _mean(float(value) for value in values)


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
