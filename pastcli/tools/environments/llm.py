"""A simulated API server whose answers a language model writes, with the documentation in its prompt.

What code can decide is not left to it: an unknown API, a bad argument and an identifier that does not exist are refused
as the other simulator refuses them. The model's answer must be the JSON object asked for; good ones are kept, by
everything they depend on, and failures never are.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from ... import cache
from ...api import ChatModel, Message, Observation, Sampling, Task, ToolSpec, ToolWarnings
from ...errors import ContextOverflow, PastError, UsageError
from ...thoughts import spoken
from ...votes import loaded
from .simulator import Checked, cache_key

NAME = "simulator by a language model"

VERSION = "llm/1"
"""Prompt and version of the way to read an answer; part of every cache key."""

ATTEMPTS = 3
TEMPERATURE = 0.7
"""Of the attempts after the first, which is greedy: the same words would only be wrong again."""

LONGEST_TEMPLATE = 4_000
REMEMBERED = 50_000
"""Answers kept in memory as well, so that repeated calls cost no disk."""

SYSTEM = """You are the server of an API. You are given the documentation of one of its functions and the arguments of \
a call, which are known to be valid. Answer with what the function would return: one JSON object \
{"error": "", "response": ...}, and nothing else. The response follows the documented format if there is one, is \
realistic and specific, speaks of the arguments given, and has about 50 to 150 words. If the call cannot succeed for a \
reason that lies in the arguments, put the reason into "error" and "" into "response"."""


def claims(path: Path) -> bool:
    """Nothing: it answers for whatever is documented."""
    return False


def tools(path: Path, warnings: ToolWarnings) -> list[ToolSpec]:
    return []


def open(
    path: Path,
    tools: Sequence[ToolSpec],
    tasks: Sequence[Task],
    model: str = "",
    backend: str = "openai",
    asked: Sequence[str] = (),
    **_: Any,
) -> LlmSimulator:
    """A simulator of these tools by a chat model, which is closed with it. Raises `UsageError` if none is named."""
    if not model:
        raise UsageError("the environment `llm` needs a model", "give --simulator-model NAME, and --simulator-backend")
    chat, identity = loaded(backend, model)
    return LlmSimulator(chat, identity, Checked(tools, tasks, asked))


class LlmSimulator:
    """A `ToolEnv`. Calls may come from many threads; the model is asked by one at a time unless it says `concurrent`, and for
    the same call by one in any case: it would say something else to each."""

    version = VERSION
    name = "llm"
    deterministic = False

    def __init__(self, chat: ChatModel, identity: str, checked: Checked):
        self._chat = chat
        self._identity = identity
        self._checked = checked
        self._memory: dict[str, str] = {}
        self._turn = None if getattr(chat, "concurrent", False) else threading.Lock()
        self._turns: dict[str, threading.Lock] = {}

    def call(self, spec: ToolSpec, arguments: Any) -> Observation:
        refused, given = self._checked.refuse(spec, arguments)
        if refused is not None:
            return refused
        try:
            key = self._key(spec, given)
        except (TypeError, ValueError, RecursionError):
            return Observation("the input cannot be written as JSON", "")
        known = self._recall(key)
        if known is not None:
            return Observation("", known)
        with self._turn or self._turns.setdefault(key, threading.Lock()):
            known = self._recall(key)  # somebody else may have asked the same while this call waited
            said = Observation("", known) if known is not None else self._ask(spec, given, key)
            if known is None and not said.error:
                self._remember(key, said.response)
        self._turns.pop(key, None)
        return said

    def close(self) -> None:
        self._chat.close()

    def _key(self, spec: ToolSpec, given: dict[str, Any]) -> str:
        """Of all that the answer depends on: the call, the documentation, the model, the prompt."""
        documented = sha256(documentation(spec).encode("utf-8", "replace")).hexdigest()
        return cache_key(spec, given, f"{VERSION} {self._identity} {documented}")

    def _recall(self, key: str) -> Any:
        line = self._memory.get(key) or cache.recall("llm_simulator", key)
        try:
            found = json.loads(line) if line else None
        except ValueError:
            return None
        if found is not None and key not in self._memory:
            self._keep(key, line)
        return found

    def _remember(self, key: str, response: Any) -> None:
        line = json.dumps(response)
        self._keep(key, line)
        cache.remember("llm_simulator", key, line)

    def _keep(self, key: str, line: str) -> None:
        if len(self._memory) >= REMEMBERED:
            self._memory.clear()
        self._memory[key] = line

    def _ask(self, spec: ToolSpec, given: dict[str, Any], key: str) -> Observation:
        """The model's answer; an error, which is not kept, if none of its attempts is one."""
        messages = prompt(spec, given)
        problem = ""
        for attempt in range(ATTEMPTS):
            seed = int(key[:8], 16) % 2**31 + attempt
            try:
                said = self._chat.chat(messages, Sampling(1024, TEMPERATURE if attempt else 0.0, seed=seed))
            except ContextOverflow:
                return Observation("the documentation does not fit into the simulator's context", "")
            except PastError as error:
                problem = error.message
                continue
            read = read_answer(said.text)
            if isinstance(read, Observation):
                return read
            problem = read
        return Observation(f"the simulator gave no answer: {problem}", "")


def prompt(spec: ToolSpec, given: dict[str, Any]) -> list[Message]:
    """What the model is asked: the whole documentation, then the call."""
    call = json.dumps(given, ensure_ascii=False)
    text = f"Documentation:\n{documentation(spec)}\n\nArguments of the call:\n{call}"
    return [Message("system", SYSTEM), Message("user", text.encode("utf-8", "replace").decode("utf-8"))]


def documentation(spec: ToolSpec) -> str:
    """Everything known of an API, as JSON: the schema with all that is nested in it, and the format of the response."""
    known = {
        "category": spec.category,
        "tool": spec.tool,
        "function": spec.api,
        "method": spec.method,
        "description": spec.description,
        "parameters": spec.schema,
        "response_format": spec.response_template,
        "response_schema": spec.response_schema,
    }
    kept = {name: value for name, value in known.items() if value not in (None, "", {}, [])}
    text = json.dumps(kept, ensure_ascii=False)
    if len(text) > 2 * LONGEST_TEMPLATE and "response_format" in kept:
        kept["response_format"] = json.dumps(kept["response_format"], ensure_ascii=False)[:LONGEST_TEMPLATE]
        text = json.dumps(kept, ensure_ascii=False)
    return text


def read_answer(text: str) -> Observation | str:
    """The observation a model's text stands for; what is wrong with it, in words, if it stands for none."""
    text = spoken(text)
    if text.startswith("```"):
        text = text.strip("`").strip().removeprefix("json").strip()
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return "no JSON"
    if not isinstance(found, dict) or set(found) != {"error", "response"} or not isinstance(found["error"], str):
        return 'no object of "error" and "response"'
    if not found["error"] and found["response"] in (None, "", {}, []):
        return "an empty answer"
    return Observation(found["error"], "" if found["error"] else found["response"])


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")
