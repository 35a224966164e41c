"""What the calls of an episode are worth: which count, what they said, and where their arguments came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ...api import Episode
from .arguments import counted, leaves
from .facts import Facts
from .failures import failed
from .sources import Said
from .text import plain


@dataclass
class Evidence:
    """What an episode's calls are worth: `facts` of calls that count, per relevant API whether it was called so, and
    why others were not counted."""

    facts: Facts
    called: list[bool]
    invented: list[str] = field(default_factory=list)
    tainted: list[str] = field(default_factory=list)
    """What calls with invented arguments said."""
    passed_on: set[int] = field(default_factory=set)
    """Relevant APIs whose values later calls were made with."""
    given: list[Said] = field(default_factory=list)
    """The arguments of calls that count."""
    filled: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)
    """The names of the arguments that each relevant API got in them."""
    refused: list[tuple[str, Any]] = field(default_factory=list)
    """Calls that came back as errors and were not made again: what their API is called, and their arguments."""
    values: int = 0
    grounded: int = 0


def weigh(episode: Episode) -> Evidence:
    """Read the calls of an episode: only valid ones with grounded arguments and a real response are evidence."""
    places = {key: place for place, key in enumerate(episode.task.relevant)}
    evidence = Evidence(Facts(Said(episode.task.query)), [False] * len(places))
    for step, spec, judged in counted(episode):
        evidence.values += judged.values
        evidence.grounded += judged.values - len(judged.invented)
        response = step.observation.response if step.observation else None
        if judged.invented:
            evidence.invented += [f"{spec.name}: {text}" for text in judged.invented]
            evidence.tainted += [str(leaf) for leaf in leaves(response) if isinstance(leaf, str)]
        elif not failed(response):
            evidence.passed_on |= _taken_from(step.arguments, evidence.facts)
            evidence.facts.add(response, places.get(spec.key, -1), step.arguments, spec.api, spec.tool or spec.category)
            evidence.given += [Said(str(leaf)) for leaf in leaves(step.arguments) if not isinstance(leaf, bool)]
            if spec.key in places:
                evidence.filled.setdefault(spec.key, set()).update(
                    step.arguments if isinstance(step.arguments, dict) else ()
                )
                evidence.called[places[spec.key]] = True
    evidence.refused = _refused(episode)
    return evidence


def _refused(episode: Episode) -> list[tuple[str, Any]]:
    apis = {spec.name: spec.api for spec in episode.task.tools}
    made = [(step.action, step.arguments) for step in episode.steps if step.outcome == "ok"]
    return [
        (apis[step.action], step.arguments)
        for step in episode.steps
        if step.outcome != "ok" and step.action in apis and (step.action, step.arguments) not in made
    ]


def argument_grounding(episodes: Iterable[Episode]) -> float | None:
    """Share of the values in valid calls that come from somewhere; None if there were none."""
    weighed = [weigh(episode) for episode in episodes]
    values = sum(evidence.values for evidence in weighed)
    return sum(evidence.grounded for evidence in weighed) / values if values else None


def _taken_from(arguments: Any, facts: Facts) -> set[int]:
    """The APIs that first said a value of these arguments."""
    values = {plain(str(leaf)) for leaf in leaves(arguments) if not isinstance(leaf, bool)}
    said = (fact for fact in facts.facts if not isinstance(fact.value, bool) and not facts.echoes(fact))
    return {fact.api for fact in said if plain(fact.text) in values}
