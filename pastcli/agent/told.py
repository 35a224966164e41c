"""A step as a person reads it: labelled texts, the same in the terminal and in a report."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..api import Step
from .prompts import FINISH, observation_text


@dataclass(frozen=True)
class Told:
    """One stretch of a step. `kind` is `thought`, `call`, `said` (no call could be read), `repaired`, `observation` or `error`."""

    kind: str
    label: str
    text: str


def told(step: Step, limit: int) -> list[Told]:
    """What a step said and what came of it; the observation as the model saw it, at most `limit` characters."""
    parts = [] if step.thought and _is_all_said(step) else [Told("thought", "Thought", step.thought)]
    if step.action:
        parts.append(Told("call", "Action", step.action))
        read = json.dumps(step.arguments, ensure_ascii=False)
        parts.append(Told("call", "Action Input", step.completion.text if step.error else read))
    else:
        parts.append(Told("said", "Said", step.completion.text))
    if step.repairs:
        parts.append(Told("repaired", "Repaired", ", ".join(step.repairs)))
    if step.observation is not None and (step.action != FINISH or step.outcome == "malformed"):
        kind = "observation" if step.outcome == "ok" else "error"
        parts.append(Told(kind, "Observation", observation_text(step.observation.to_dict(), limit)))
    return parts


def _is_all_said(step: Step) -> bool:
    """True if no call could be read and the thought is what was said: it need not be told twice."""
    thought, said = (" ".join(text.split()) for text in (step.thought, step.completion.text))
    return not step.action and thought in said
