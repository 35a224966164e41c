"""Calls of an episode that ask again what was answered before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...api import Episode, ToolSpec
from ..judging.expected import is_call, same_value
from ..judging.facts import is_empty
from ..judging.failures import failed


@dataclass(frozen=True)
class _Answered:
    """A call that got an answer: the arguments by their shown names, and as they were written."""

    name: str
    given: dict[str, Any]
    written: Any
    response: Any


def repeats(episode: Episode) -> int:
    """How many calls asked once more what a call before them had been told.

    Arguments are the same by meaning: in another spelling, under any of their names, with or without those that only say a
    default. No repeat is a call that had failed, one in another spelling of which nothing had been found, one that a
    tool with a state answers otherwise now, and one that the task expects as often as it was made.
    """
    specs = {spec.name: spec for spec in episode.task.tools}
    answered: list[_Answered] = []
    count = 0
    for step in episode.steps:
        if step.outcome != "ok" or step.observation is None or failed(step.observation.response):
            continue
        spec = specs[step.action]
        call = _Answered(spec.name, _given(spec, step.arguments), step.arguments, step.observation.response)
        before = sum(_asks_again(call, other) for other in answered)
        expected = (wanted for wanted in episode.task.expected_calls if wanted.key == spec.key)
        count += before >= max(1, sum(is_call(spec, step.arguments, wanted) for wanted in expected))
        answered.append(call)
    return count


def _asks_again(call: _Answered, before: _Answered) -> bool:
    if call.name != before.name or not same_value(call.given, before.given):
        return False
    return call.response == before.response if call.written == before.written else not is_empty(before.response)


def _given(spec: ToolSpec, arguments: Any) -> dict[str, Any]:
    """The arguments of a call that was accepted, by their shown names, without what leaving them out would say as well."""
    given: dict[str, Any] = {}
    for name, value in (arguments if isinstance(arguments, dict) else {}).items():
        parameter = spec.parameter(name)
        idle = parameter is not None and not parameter.required and value in (None, "", parameter.default)
        if not idle:
            given[parameter.name if parameter else name] = value
    return given
