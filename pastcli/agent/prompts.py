"""What the model is told, and how an observation is shown to it. Names only by default (METHOD 3, tool use)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..api import Message, Task, ToolSpec

FINISH = "Finish"
GIVE_ANSWER, GIVE_UP = "give_answer", "give_up_and_restart"

PRIMER = "Thought:"
"""Appended where the model is to speak, so that every turn begins in the format."""

STOP = ("\nObservation",)

SYSTEM = """You answer the user's request by calling functions. Each turn is a Thought, an Action (the exact name of \
one function) and an Action Input (its arguments as one JSON object). You are then shown the Observation, the \
function's JSON answer; an error in it says what was wrong with the call. When you can answer, call Finish with \
return_type "give_answer" and final_answer; if you cannot go on, call it with return_type "give_up_and_restart".

For example, with the functions find_hotel_for_staywell and Finish, and the request "Find a hotel in Oslo":
Thought: I need a hotel in Oslo, so I call find_hotel_for_staywell.
Action: find_hotel_for_staywell
Action Input: {"city": "Oslo"}
Observation: {"error": "", "response": {"name": "Grand Fjord", "price": 120}}
Thought: I have what was asked for.
Action: Finish
Action Input: {"return_type": "give_answer", "final_answer": "The Grand Fjord, for 120 a night."}

"""
"""The example is there for small models: told the form alone, they repeat its description instead of filling it."""

BRIEF = "Answer by calling these functions.\n"
"""For a model that learnt the form in training: what is left is the names, and those are what it must know them by."""

_SPECIAL = re.compile(r"<(?=\||/?s>|/?(?:start|end)_of_turn>|/?think>)")


def messages(task: Task, show_schemas: bool, prompt: str = "full") -> list[Message]:
    """The conversation before the first turn; `prompt` is `full` or `brief`."""
    names = "\n".join(spec.name for spec in task.tools) + f"\n{FINISH}"
    system = (BRIEF if prompt == "brief" else SYSTEM + "Functions:\n") + names
    if show_schemas:
        documentation = [json.dumps(schema(spec), ensure_ascii=False) for spec in task.tools]
        system += "\n\nTheir documentation:\n" + "\n".join(documentation)
    return [Message("system", writable(system)), Message("user", writable(task.query))]


def schema(spec: ToolSpec) -> dict[str, Any]:
    """A tool as `--show-schemas` and the ToolEval file give it: its whole JSON Schema, and ToolBench's `optional`."""
    optional = [p.name for p in spec.parameters if not p.required]
    parameters = {**spec.schema, "required": [p.name for p in spec.parameters if p.required], "optional": optional}
    return {"name": spec.name, "description": spec.description, "parameters": parameters}


FINISH_SCHEMA = {
    "name": FINISH,
    "description": "End the task with an answer, or give up.",
    "parameters": {
        "type": "object",
        "properties": {
            "return_type": {"type": "string", "enum": [GIVE_ANSWER, GIVE_UP]},
            "final_answer": {"type": "string", "description": "The answer; needed for give_answer."},
        },
        "required": ["return_type"],
        "optional": ["final_answer"],
    },
}


def observation_text(observation: Mapping[str, Any], limit: int) -> str:
    """One line of JSON of at most `limit` characters; what is cut off is marked by `...`.

    A tool's answer must not be able to end the turn: a line break cannot occur inside JSON, and where tokens are at hand
    it is tokenised as plain text (`tokens`). For models that take only text, the control tokens of the usual chat
    templates are written with a JSON escape as well.
    """
    text = _SPECIAL.sub(r"\\u003c", json.dumps(observation, ensure_ascii=False))
    text = text if len(text) <= limit else text[: max(limit - 3, 0)] + "..."
    return writable(text)


def writable(text: str) -> str:
    """Lone surrogates, which no tokenizer can encode, replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")
