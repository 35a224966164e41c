"""How a model and its tools talk: ReAct in plain text (the paper's), or the model's own function calling.

A form opens the conversation, reads a turn, and says what is put into the prompt after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ..api import ChatModel, Completion, Message, Task
from .parse import Said, parse
from .prompts import PRIMER, STOP, messages, observation_text, writable
from .tokens import TEMPLATE, TEXT, Piece, Prompt, said


class Form(Protocol):
    """One way of talking. `stop` are the strings that end a turn."""

    stop: tuple[str, ...]

    def messages(self, task: Task) -> list[Message]:
        """The conversation before the first turn."""

    def render(self, model: ChatModel, task: Task) -> str:
        """That conversation as the model's text, ending where it is to speak."""

    def opening(self, rendered: str) -> Prompt:
        """The first prompt."""

    def read(self, completion: Completion) -> Said:
        """What a turn said. Total: any text gives a `Said`."""

    def then(self, used: str, completion: Completion, observation: Mapping[str, Any]) -> list[Piece]:
        """What follows the prompt once a turn was answered by an observation."""


class React:
    """Thought, Action, Action Input, Observation (2210.03629); every turn begins after `Thought:`."""

    stop: tuple[str, ...] = STOP

    def __init__(self, show_schemas: bool, observation_chars: int, prompt: str = "full"):
        self._show_schemas, self._prompt = show_schemas, prompt
        self._limit = observation_chars

    def messages(self, task: Task) -> list[Message]:
        return messages(task, self._show_schemas, self._prompt)

    def render(self, model: ChatModel, task: Task) -> str:
        return model.render(self.messages(task))

    def opening(self, rendered: str) -> Prompt:
        return Prompt((Piece(TEMPLATE, rendered + PRIMER),))

    def read(self, completion: Completion) -> Said:
        return parse(completion.text, cut=completion.finish == "length")

    def then(self, used: str, completion: Completion, observation: Mapping[str, Any]) -> list[Piece]:
        text = f"\nObservation: {observation_text(observation, self._limit)}\n{PRIMER}"
        return [said(completion, writable(used)), Piece(TEXT, text)]
