"""The types of chat models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Message:
    """One chat message; `role` is `system`, `user`, `assistant` or `tool`."""

    role: str
    content: str

    def to_dict(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Sampling:
    """How to decode. `temperature` 0 is greedy; `seed` makes sampling reproducible per call.

    `grammar` is a GBNF text for backends that support it; others must raise `UsageError` when it is set.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    grammar: str | None = None


@dataclass(frozen=True)
class Completion:
    """What a model answered. `finish` is `stop` (stop string or end token) or `length`.

    `evaluated_tokens` counts prompt tokens that were really computed (fewer than `prompt_tokens` when a
    prefix was reused); `seconds` is wall time of this answer, a batch's time divided over its rows.
    """

    text: str
    finish: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    evaluated_tokens: int = 0
    seconds: float = 0.0
    token_ids: tuple[int, ...] = ()


class Completes(Protocol):
    """What continues raw texts: a chat model, or one behind something that writes into its prompts."""

    name: str

    def complete(self, prompts: Sequence[str], sampling: Sampling) -> list[Completion]:
        """Continue each raw text; results in the order of `prompts`."""

    def close(self) -> None:
        """Free the model. Safe to call twice."""


@runtime_checkable
class ChatModel(Completes, Protocol):
    """A loaded language model: raw completion in batches, and chat through the model's own template.

    One that may be asked from several threads at once says `concurrent = True`; a server is best asked so.
    """

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Answer a conversation rendered with the model's chat template."""

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt text of a conversation, ending where the assistant is to speak.

        `complete([render(messages)], ...)` must equal `chat(messages, ...)`. The agent renders once and then only
        appends text, so that each turn reuses the evaluated prefix of the one before. A prompt that does not fit
        makes `complete` and `chat` raise `ContextOverflow`. A backend whose models call functions by themselves takes
        `tools` as well, a list of OpenAI's function documents, for the template's own place.
        """


@runtime_checkable
class ScoresTexts(Protocol):
    """What a chat model may also offer: how likely it finds given texts."""

    def log_probabilities(self, texts: Sequence[str]) -> list[tuple[Sequence[int], Any]]:
        """Token ids (n,) of each text and the float32 log-probabilities (n - 1, vocabulary) of what follows each token but
        the last."""


@runtime_checkable
class TokenModel(ChatModel, Protocol):
    """A chat model whose tokenizer is at hand: prompts can be given as token ids, and what it said is kept as such.

    An agent's prompt is then made of the template's tokens, the tokens that the model itself sampled, and observations
    tokenised as plain text, in which nothing can be a control token.
    """

    context: int
    """Most tokens of prompt and answer together."""

    def encode(self, text: str, special: bool) -> list[int]:
        """Token ids of a text. With `special` it begins a prompt: control tokens written in it are recognised and the
        beginning token, if the model has one, is put before it; without, every character is only text."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens, as `Completion.text` has it."""

    def complete_tokens(self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]) -> list[Completion]:
        """Continue each prompt, decoded together; `Completion.token_ids` are the tokens sampled. What a prompt shares with
        an earlier one is not evaluated again. Prompts must leave room in `context`."""
