"""Native function calling: the model's own chat template with `tools=`, its own call syntax read, its own tool turns written.

Names only unless the documentation is asked for, as in ReAct. There is no Finish: a turn without a call is the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..api import ChatModel, Completion, Message, Task
from ..errors import UsageError
from ..thoughts import THOUGHT, spoken
from .arguments import parse_arguments
from .parse import ANSWER, FINISH, Said, tool_call
from .prompts import observation_text, schema, writable
from .tokens import TEMPLATE, TEXT, Piece, Prompt, said

SYSTEM = "Answer the user's request by calling the functions you are given. When you know the answer, say it."
_SAID, _TOLD = "past says 7Q2", "past tells 5K9"
"""Stand for a turn and an observation while the template is asked what it writes around them."""

_FORMS = (
    re.compile(r"<tool_call>(?P<json>.*?)(?:</tool_call>|\Z)", re.DOTALL),
    re.compile(r"<function=(?P<name>[\w.-]+)>(?P<arguments>.*?)(?:</function>|\Z)", re.DOTALL),
    re.compile(r"\[TOOL_CALLS\]\s*(?P<list>\[.*|\{.*)\Z", re.DOTALL),
    re.compile(r"<\|python_tag\|>(?P<json>.*?)(?:<\|eom_id\|>|\Z)", re.DOTALL),
    re.compile(r"\A\s*(?:```(?:json)?\s*)?(?P<json>\{\s*\"name\"\s*:.*)\Z", re.DOTALL),
    re.compile(r"\A\s*(?P<list>\[\s*\{\s*\"name\"\s*:.*)\Z", re.DOTALL),
)
"""Hermes and Qwen; Llama's functions; Mistral; Llama 3's built-in tag; a bare object, and a list of them."""


class Native:
    """A `Form`; see the module."""

    stop: tuple[str, ...] = ()

    def __init__(self, show_schemas: bool, observation_chars: int):
        self._show_schemas, self._limit = show_schemas, observation_chars
        self._around: tuple[str, str] | None = None

    def messages(self, task: Task) -> list[Message]:
        return [Message("system", SYSTEM), Message("user", writable(task.query))]

    def render(self, model: ChatModel, task: Task) -> str:
        """Raises `UsageError` for a backend or a template that knows no tools."""
        opening, tools = self.messages(task), [self._tool(spec) for spec in task.tools]
        rendered = _rendered(model, opening, tools)
        if rendered == model.render(opening):
            raise UsageError(f"the chat template of {model.name} has no place for tools", "use --format react")
        if self._around is None:
            self._around = _around(model, opening, tools, rendered)
        return rendered

    def opening(self, rendered: str) -> Prompt:
        return Prompt((Piece(TEMPLATE, rendered),))

    def read(self, completion: Completion) -> Said:
        return read_call(completion.text, completion.finish == "length")

    def then(self, used: str, completion: Completion, observation: Mapping[str, Any]) -> list[Piece]:
        before, after = self._around or ("\n", "\n")  # a replay continues nothing
        text = observation_text(observation, self._limit)
        return [said(completion, writable(used)), Piece(TEMPLATE, before), Piece(TEXT, text), Piece(TEMPLATE, after)]

    def _tool(self, spec: Any) -> dict[str, Any]:
        shown = schema(spec) if self._show_schemas else {"name": spec.name, "description": ""}
        parameters = spec.schema if self._show_schemas else {"type": "object", "properties": {}}
        return {"type": "function", "function": {**shown, "parameters": parameters}}


def _rendered(model: ChatModel, messages: list[Message], tools: list[dict[str, Any]]) -> str:
    render: Callable[..., str] = model.render  # one that calls functions by itself takes `tools` as well
    try:
        return render(messages, tools=tools)
    except TypeError as error:
        raise UsageError(f"{model.name} has no native function calling here: {error}", "use --format react") from error


def _around(model: ChatModel, opening: list[Message], tools: list[dict[str, Any]], rendered: str) -> tuple[str, str]:
    """What the template writes between the assistant's turn and an observation, and after it up to the next turn."""
    whole = _rendered(model, [*opening, Message("assistant", _SAID), Message("tool", _TOLD)], tools)
    begin, told = whole.find(_SAID), whole.find(_TOLD)
    if not rendered or begin < 0 or told < begin:
        raise UsageError(f"the chat template of {model.name} writes no observations", "use --format react")
    return whole[begin + len(_SAID) : told], whole[told + len(_TOLD) :]


def read_call(text: str, cut: bool = False) -> Said:
    """The first call in a turn, in any of the known forms; a turn without one is the answer. Total."""
    visible = THOUGHT.sub(lambda found: " " * len(found[0]), text)
    found = next((match for form in _FORMS if (match := form.search(visible))), None)
    if found is None:
        answer = " ".join(spoken(text).split())
        if cut or not answer:
            return Said(answer, "", None, text, (), "the answer was cut off" if cut else "neither a call nor an answer")
        return Said("", FINISH, {"return_type": "give_answer", ANSWER: spoken(text)}, text, (), "")
    thought, parts = " ".join(visible[: found.start()].split()), found.groupdict()
    name, arguments, repairs, error = _call(parts)
    if cut and error:
        error = f"the answer was cut off inside a call ({error})"
    more = ("extra_step",) if any(form.search(visible, found.end()) for form in _FORMS[:3]) else ()
    return Said(thought, name[:200], None if error else arguments, text[: found.end()], (*more, *repairs), error)


def _call(parts: dict[str, str]) -> tuple[str, Any, list[str], str]:
    """(name, arguments, repairs, error) of what a form found."""
    if parts.get("name"):
        arguments, repairs, error = parse_arguments(parts["arguments"])
        return parts["name"], arguments, repairs, error
    written = parts.get("json") or parts.get("list") or ""
    if parts.get("list") and written.lstrip().startswith("["):
        calls, repairs, error = parse_arguments(written)
        if error or not isinstance(calls, list) or not calls:
            return "", None, repairs, error or "the list of calls is empty"
        name, arguments, more, error = tool_call(json.dumps(calls[0]))
        return name, arguments, [*repairs, *(["extra_step"] if len(calls) > 1 else []), *more], error
    return tool_call(written)
