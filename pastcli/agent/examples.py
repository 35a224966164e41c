"""An episode as a training row: what the model said is learnt, what the tools answered is read, in the agent's own form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from ..api import Episode, Step, Task, ToolEnv
from ..config import AgentConfig, LessonsConfig
from .drivers import form_of
from .forms import Form
from .mistakes import with_mistake
from .prompts import PRIMER, STOP, observation_text, writable


def row(episode: Episode, form: Form, observation_chars: int) -> dict[str, Any]:
    """`{"messages", "parts"}` (see `api.TrainJob`) of an episode that ended in Finish: prompt, turns and observations are
    those of a run of `past agent` with the same form, so the tokens learnt are the ones it would have to sample there.

    Every turn but the last ends in the beginning of `Observation`, which is what stops it. A call that came to nothing is read
    like an observation: what is to be learnt there is what follows it.
    """
    parts = [{"text": PRIMER, "learn": False}]
    for step in episode.steps:
        said = turn_text(step, form)
        if step.observation is None:
            parts.append({"text": said, "learn": True})
            continue
        seen = observation_text(step.observation.to_dict(), observation_chars)
        parts.append({"text": f"{said}{STOP[0]}", "learn": step.outcome == "ok"})
        parts.append({"text": f": {seen}\n{PRIMER}", "learn": False})
    return {"messages": [message.to_dict() for message in form.messages(episode.task)], "parts": parts}


def rows_of_runs(
    runs: Iterable[Episode], lessons: LessonsConfig, env_of: Callable[[Task], ToolEnv]
) -> list[dict[str, Any]]:
    """The training rows of lessons' whole runs, some of them with a mistake that is mended."""
    form = form_of(AgentConfig(prompt=lessons.prompt, observation_chars=lessons.observation_chars))
    told = (with_mistake(run, lessons.mistakes, lessons.seed, env_of) if lessons.mistakes else run for run in runs)
    return [row(run, form, lessons.observation_chars) for run in told]


def turn_text(step: Step, form: Form) -> str:
    """What the model said in a turn, as far as the agent keeps it; composed from its parts where no model took it."""
    if step.completion.text:
        return writable(form.read(step.completion).used)
    arguments = json.dumps(step.arguments, ensure_ascii=False)
    return writable(f" {step.thought}\nAction: {step.action}\nAction Input: {arguments}")
