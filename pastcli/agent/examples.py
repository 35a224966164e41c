"""An episode as a training row: what the model said is learnt, what the tools answered is read, in the agent's own form."""

from __future__ import annotations

import json
from typing import Any

from ..api import Episode, Step
from .forms import Form
from .prompts import PRIMER, STOP, observation_text, writable


def row(episode: Episode, form: Form, observation_chars: int) -> dict[str, Any]:
    """`{"messages", "parts"}` (see `api.TrainJob`) of an episode that ended in Finish: prompt, turns and observations are
    those of a run of `past agent` with the same form, so the tokens learnt are the ones it would have to sample there.

    Every turn but the last ends in the beginning of `Observation`, which is what stops it.
    """
    parts = [{"text": PRIMER, "learn": False}]
    for step in episode.steps:
        said = turn_text(step, form)
        if step.observation is None:
            parts.append({"text": said, "learn": True})
            continue
        seen = observation_text(step.observation.to_dict(), observation_chars)
        parts.append({"text": f"{said}{STOP[0]}", "learn": True})
        parts.append({"text": f": {seen}\n{PRIMER}", "learn": False})
    return {"messages": [message.to_dict() for message in form.messages(episode.task)], "parts": parts}


def turn_text(step: Step, form: Form) -> str:
    """What the model said in a turn, as far as the agent keeps it; composed from its parts where no model took it."""
    if step.completion.text:
        return writable(form.read(step.completion).used)
    arguments = json.dumps(step.arguments, ensure_ascii=False)
    return writable(f" {step.thought}\nAction: {step.action}\nAction Input: {arguments}")
