"""One episode as a generator: it yields what the model is to continue and receives what the model said.

It knows nothing of batches, threads, transcripts or training: those are drivers (`drivers`), and all of them run this.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from ..api import Completion, Episode, Observation, Sampling, Step, Task, ToolEnv
from ..config import AgentConfig
from ..errors import ContextOverflow
from .forms import Form
from .grammar import grammar
from .parse import Said
from .prompts import FINISH, GIVE_ANSWER, GIVE_UP
from .strangers import observed
from .tokens import Prompt

STUCK = 3
"""The same call this many times: a greedy model will not leave the circle by itself."""


@dataclass(frozen=True)
class Turn:
    """What an episode asks for: `prompt` continued under `sampling`, whose seed belongs to this turn alone."""

    prompt: Prompt
    sampling: Sampling


Reply = Completion | Step
"""What an episode is given: an answer of the model, or the whole step that was recorded when it was given before."""

Play = Generator[Turn, Reply, Episode]


def call_seed(seed: int, query: str, attempt: int, step: int) -> int:
    """31 bits from (run seed, query, attempt, step): a call is reproducible without the calls before it."""
    digest = hashlib.sha256(json.dumps([seed, query, attempt, step]).encode()).digest()
    return int.from_bytes(digest[:4]) & 0x7FFFFFFF


def play(
    task: Task, attempt: int, config: AgentConfig, form: Form, rendered: str, env: ToolEnv, tell: Callable[[Step], None]
) -> Play:
    """One attempt at one task, as the ReAct loop (2210.03629): ask, read, call, observe, until Finish or a reason to stop.

    `rendered` is the conversation before the first turn in the model's template. `tell` gets each step that was made
    here, tool call included, before the next turn is asked for; a recorded `Step` is taken as it is: nothing is called
    and nothing told. Errors of tools are not caught: a crash stops the run and counts as nothing. `ContextOverflow`
    may be thrown in and ends the episode.
    """
    prompt = form.opening(rendered)
    rules = grammar(task, config.decoding)
    steps: list[Step] = []
    calls: Counter[str] = Counter()
    for index in range(config.max_turns):
        seed = call_seed(config.seed, task.id, attempt, index)
        sampling = Sampling(config.max_new_tokens, config.temperature, stop=form.stop, seed=seed, grammar=rules)
        try:
            reply = yield Turn(prompt, sampling)
        except ContextOverflow:
            return Episode(task, attempt, tuple(steps), "context_overflow")
        if isinstance(reply, Step):
            step, used = reply, form.read(reply.completion).used
        else:
            heard = form.read(reply)
            step, used = _step(index, seed, reply, heard, task, env), heard.used
            tell(step)
        steps.append(step)
        if step.outcome == "finish":
            gave_up = step.arguments.get("return_type") == GIVE_UP
            status, answer = ("gave_up", "") if gave_up else ("finished", answer_of(step.arguments))
            return Episode(task, attempt, tuple(steps), status, answer)
        call = json.dumps([step.action, used if step.error else step.arguments], sort_keys=True)
        calls[call] += 1
        if calls[call] >= STUCK:
            return Episode(task, attempt, tuple(steps), "stuck")
        prompt += form.then(used, step.completion, step.observation.to_dict() if step.observation else {})
    return Episode(task, attempt, tuple(steps), "max_turns")


def _step(index: int, seed: int, completion: Completion, heard: Said, task: Task, env: ToolEnv) -> Step:
    outcome, observation = _act(heard, task, env)
    return Step(
        index=index,
        seed=seed,
        completion=completion,
        thought=heard.thought,
        action=heard.action,
        arguments=heard.arguments,
        repairs=heard.repairs,
        error=heard.error,
        outcome=outcome,
        observation=observation,
    )


def _act(heard: Said, task: Task, env: ToolEnv) -> tuple[str, Observation | None]:
    """(outcome, observation) of one turn; the observation is plain JSON, None after Finish."""
    if heard.error:
        return "malformed", Observation(heard.error, "")
    if heard.action == FINISH:
        error = _finish_error(heard.arguments)
        return ("malformed", Observation(error, "")) if error else ("finish", None)
    return called(heard.action, heard.arguments, task, env)


def called(action: str, arguments: Any, task: Task, env: ToolEnv) -> tuple[str, Observation]:
    """(outcome, observation) of a call that could be read."""
    spec = next((spec for spec in task.tools if spec.name == action), None)
    if spec is None:
        names = ", ".join([*(spec.name for spec in task.tools), FINISH])
        asked = json.dumps(action, ensure_ascii=False)
        return "unknown", Observation(f"unknown function {asked}; the functions are: {names}", "")
    observation = plain(observed(env, spec, arguments))
    return ("invalid" if observation.error else "ok"), observation


def plain(observation: Observation) -> Observation:
    """The observation as JSON keeps it: what is stored, judged and shown must be one and the same."""
    kept = json.loads(json.dumps(observation.to_dict(), default=_text), parse_constant=lambda _: None)
    return Observation(kept["error"] if isinstance(kept["error"], str) else json.dumps(kept["error"]), kept["response"])


def _finish_error(arguments: Any) -> str:
    """What is wrong with a call of Finish; '' if nothing. `final_answer` alone is enough."""
    if not isinstance(arguments, dict):
        return f"{FINISH} takes a JSON object with return_type and final_answer"
    kind = arguments.get("return_type", GIVE_ANSWER)
    if kind == GIVE_UP:
        return ""
    if kind != GIVE_ANSWER:
        return f"return_type must be {GIVE_ANSWER} or {GIVE_UP}"
    return "" if answer_of(arguments).strip() else f"{FINISH} with {GIVE_ANSWER} needs a final_answer that is not empty"


def answer_of(arguments: dict[str, Any]) -> str:
    """The answer in a call of Finish, as text."""
    answer = arguments.get("final_answer")
    return answer if isinstance(answer, str) else "" if answer is None else json.dumps(answer, ensure_ascii=False)


def _text(value: Any) -> str:
    """A tool's value that JSON does not know, as text."""
    return bytes(value).decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else str(value)
