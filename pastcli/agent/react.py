"""The ReAct loop (2210.03629), names only: ask, parse, call, observe, until Finish or a reason to stop."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from ..api import ChatModel, Completion, Episode, Sampling, Task, ToolEnv
from ..config import AgentConfig
from ..errors import ContextOverflow
from .grammar import grammar
from .parse import Step, parse
from .prompts import FINISH, GIVE_ANSWER, GIVE_UP, PRIMER, STOP, messages, next_turn, observation_text

STUCK = 3
"""The same call this many times: a greedy model will not leave the circle by itself."""

Write = Callable[[dict[str, Any]], None]


def call_seed(seed: int, query: str, attempt: int, step: int) -> int:
    """31 bits from (run seed, query, attempt, step): a call is reproducible without the calls before it."""
    digest = hashlib.sha256(json.dumps([seed, query, attempt, step]).encode()).digest()
    return int.from_bytes(digest[:4]) & 0x7FFFFFFF


def run_episode(model: ChatModel, env: ToolEnv, task: Task, attempt: int, config: AgentConfig, write: Write) -> Episode:
    """One attempt at one task. `write` gets each event as it happens: the episode's beginning, then every step.

    A step is `{step, seed, completion, thought, action, arguments, repairs, error, outcome, observation}`; `outcome` is
    `ok` or `invalid` (the tool's word), `unknown` (no such function), `malformed` (nothing to call) or `finish`.
    Errors of model and tools are not caught, except `ContextOverflow`: a crash stops the run and counts as nothing.
    """
    where = {"task": task.id, "attempt": attempt}
    opening = messages(task, config.show_schemas)
    prompt = model.render(opening)
    write({"event": "episode", **where, "messages": [message.to_dict() for message in opening], "prompt": prompt})
    prompt += PRIMER
    sampling = Sampling(config.max_new_tokens, config.temperature, stop=STOP, grammar=grammar(task, config.decoding))
    episode = Episode(task, attempt, [], "max_turns")
    calls: Counter[str] = Counter()
    for index in range(config.max_turns):
        seed = call_seed(config.seed, task.id, attempt, index)
        try:
            completion = model.complete([prompt], dataclasses.replace(sampling, seed=seed))[0]
        except ContextOverflow:
            episode.status = "context_overflow"
            break
        step = parse(completion.text, cut=completion.finish == "length")
        outcome, observation = _act(step, task, env)
        record = {"step": index, "seed": seed, "completion": _plain(completion), **_said(step)}
        record |= {"outcome": outcome, "observation": observation}
        episode.steps.append(record)
        write({"event": "step", **where, **record})
        calls[_fingerprint(step)] += 1
        if outcome == "finish":
            gave_up = step.arguments.get("return_type") == GIVE_UP
            episode.status, episode.answer = ("gave_up", "") if gave_up else ("finished", _answer(step.arguments))
            break
        if calls[_fingerprint(step)] >= STUCK:
            episode.status = "stuck"
            break
        prompt += next_turn(step.used, observation_text(observation, config.observation_chars))
    return episode


def _act(step: Step, task: Task, env: ToolEnv) -> tuple[str, dict[str, Any] | None]:
    """(outcome, observation) of one step; the observation is plain JSON, None after Finish."""
    if step.error:
        return "malformed", {"error": step.error, "response": ""}
    if step.action == FINISH:
        error = _finish_error(step.arguments)
        return ("malformed", {"error": error, "response": ""}) if error else ("finish", None)
    spec = next((spec for spec in task.tools if spec.name == step.action), None)
    if spec is None:
        names = ", ".join([*(spec.name for spec in task.tools), FINISH])
        error = f"unknown function {json.dumps(step.action)}; the functions are: {names}"
        return "unknown", {"error": error, "response": ""}
    observation = env.call(spec, step.arguments).to_dict()
    # What is stored, judged and shown must be one and the same, so it is made plain JSON before any of that.
    plain = json.loads(json.dumps(observation, default=_text), parse_constant=lambda _: None)
    return ("invalid" if plain["error"] else "ok"), plain


def _finish_error(arguments: Any) -> str:
    """What is wrong with a call of Finish; '' if nothing. `final_answer` alone is enough."""
    if not isinstance(arguments, dict):
        return f"{FINISH} takes a JSON object with return_type and final_answer"
    kind = arguments.get("return_type", GIVE_ANSWER)
    if kind == GIVE_UP:
        return ""
    if kind != GIVE_ANSWER:
        return f"return_type must be {GIVE_ANSWER} or {GIVE_UP}"
    return "" if _answer(arguments).strip() else f"{FINISH} with {GIVE_ANSWER} needs a final_answer that is not empty"


def _answer(arguments: dict[str, Any]) -> str:
    answer = arguments.get("final_answer")
    return answer if isinstance(answer, str) else "" if answer is None else json.dumps(answer, ensure_ascii=False)


def _said(step: Step) -> dict[str, Any]:
    return {
        "thought": step.thought,
        "action": step.action,
        "arguments": step.arguments,
        "repairs": list(step.repairs),
        "error": step.error,
    }


def _fingerprint(step: Step) -> str:
    """Equal for equal calls; steps without a readable call are equal if their text is."""
    return json.dumps([step.action, step.used if step.error else step.arguments], sort_keys=True)


def _plain(completion: Completion) -> dict[str, Any]:
    """A completion as the transcript keeps it: what a replay needs, and no token ids."""
    kept = dataclasses.asdict(completion)
    del kept["token_ids"]
    return kept


def _text(value: Any) -> str:
    """A tool's value that JSON does not know, as text."""
    return bytes(value).decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else str(value)
