"""The `rules` judge: no model, the same label every time.

Solved: the run finished, called every relevant API validly, and its answer uses something that each of them said
and no number that nobody said. A right answer in other words is not recognised, a lucky one rarely passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..api import Episode, Verdict
from ..qa import normalize

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?|\d+")
_ENUMERATION = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)


@dataclass(frozen=True)
class Grounding:
    """How an answer relates to the observations.

    `used` is how many observed values it repeats that the query did not give away, `novel` how many there were;
    `unsupported` are its numbers that stand neither in an observation nor in the query.
    """

    used: int
    novel: int
    unsupported: tuple[str, ...]


class RulesJudge:
    """Role `past.judges`, name `rules`."""

    name = "rules"
    version = "rules/1"
    deterministic = True

    def judge(self, episode: Episode) -> Verdict:
        """Label one attempt; `Ungraded` when nobody said which APIs a good run calls."""
        relevant = episode.task.relevant
        if not relevant:
            return Verdict("Ungraded", "no relevant APIs are known for this query")
        if episode.status != "finished":
            return Verdict("Unsolved", f"ended without an answer: {episode.status}")
        observed = _observed(episode)
        called = [key for key in relevant if key in observed]
        if not called:
            return Verdict("Unsolved", "no relevant API was called validly")
        everything = [response for responses in observed.values() for response in responses]
        unsupported = grounding(episode.answer, everything, episode.task.query).unsupported
        found = [grounding(episode.answer, observed[key], episode.task.query) for key in called]
        unused = sum(part.novel > 0 and part.used == 0 for part in found)
        details = {"called": len(called), "relevant": len(relevant), "unused": unused, "unsupported": list(unsupported)}
        if unused == len(found):
            return Verdict("Unsolved", "the answer repeats nothing that was observed", details)
        if len(called) < len(relevant):
            reason = f"{len(relevant) - len(called)} of {len(relevant)} relevant APIs not called validly"
        elif unsupported:
            reason = f"numbers without a source: {', '.join(unsupported[:3])}"
        elif unused:
            reason = f"the answer uses nothing that {unused} of {len(relevant)} relevant APIs said"
        else:
            return Verdict("Solved", "all relevant APIs called validly, answer grounded in observations", details)
        return Verdict("Partially Solved", reason, details)


def _observed(episode: Episode) -> dict[tuple[str, str, str], list[Any]]:
    """Responses of the valid calls, by API."""
    keys = {spec.name: spec.key for spec in episode.task.tools}
    found: dict[tuple[str, str, str], list[Any]] = {}
    for step in episode.steps:
        if step.outcome == "ok":
            found.setdefault(keys[step.action], []).append(step.observation.response)
    return found


def grounding(answer: str, responses: Iterable[Any], query: str) -> Grounding:
    """Compare an answer with the values observed, as text (normalised words) and as numbers (to the digits given)."""
    said, asked = f" {normalize(answer)} ", f" {normalize(query)} "
    values, lengths = _leaves(list(responses))
    seen, given = {n for value in values for n in _numbers(value)}, set(_numbers(query))
    novel = {text for value in values if (text := normalize(value)) and f" {text} " not in asked}
    claimed = _NUMBER.findall(_ENUMERATION.sub(" ", answer))
    unsupported = [number for number in claimed if not _supported(number, seen | given | lengths)]
    used = {text for text in novel if f" {text} " in said}
    used |= {number for number in claimed if _supported(number, seen) and not _supported(number, given)}
    return Grounding(len(used), len(novel), tuple(dict.fromkeys(unsupported)))


def _numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in _NUMBER.findall(text)]


def _supported(number: str, known: set[float]) -> bool:
    """True if a known value, rounded to the digits written, is this number."""
    plain = number.replace(",", "")
    digits = len(plain.partition(".")[2])
    return any(abs(round(value, digits) - float(plain)) < 1e-9 for value in known)


def _leaves(value: Any) -> tuple[list[str], set[float]]:
    """Every text and number inside a response, as text; and the lengths of its lists, since answers count things."""
    pending, values, lengths = [value], [], set()
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
            lengths.add(float(len(item)))
        elif item is not None and not isinstance(item, bool):
            values.append(str(item))
    return values, lengths


rules = RulesJudge()
