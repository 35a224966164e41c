"""A whole plugin for `past`: one reward, one chat model. Copy it, rename it, keep what you need.

The types it fills are the protocols `Reward` and `ChatModel` of `pastcli.api`; no base class, no registration
call: the two entry points in pyproject.toml are all that `past` looks at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pastcli.api import Completion, Message, Sampling
from pastcli.errors import UsageError


def brevity(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
    """A reward: 1 for an answer of one word, 1/n for n words, 0 for none. `columns` holds the data set's other columns.

    Return None for what you cannot grade; past leaves it out rather than counting it as 0.
    """
    lengths = (len(text.split()) for text in completions)
    return [1.0 / length if length else 0.0 for length in lengths]


def load_chat(path: str | Path, **options: Any) -> Oracle:
    """A chat model: what `--model` named arrives as `path`. Raise `UsageError` with a hint for a user's mistake."""
    try:
        answers = json.loads(Path(path).read_text(encoding="utf-8"))
        return Oracle(str(path), dict(answers))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"{path} holds no answers: {error}", 'write {"words of the question": "answer", ...}'
        ) from error


load_chat.local = False  # what --model names is ours to read, not a model that past should look up


class Oracle:
    """Knows the answer to every question that contains one of its keys, and nothing else."""

    def __init__(self, name: str, answers: dict[str, str]):
        self.name = name
        self._answers = answers

    def complete(self, prompts: Sequence[str], sampling: Sampling) -> list[Completion]:
        known = [next((answer for key, answer in self._answers.items() if key in prompt), "") for prompt in prompts]
        return [Completion(f" {text}", completion_tokens=len(text.split())) for text in known]

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return self.complete([self.render(messages)], sampling)[0]

    def render(self, messages: Sequence[Message]) -> str:
        return "\n".join(message.content for message in messages) + "\n"

    def close(self) -> None:
        """Nothing to free."""
