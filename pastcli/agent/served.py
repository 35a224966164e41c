"""A model behind a server, given the very tokens a local one would be given, or found out not to be.

The tokenizer and the chat template of the same model lie here; the server continues raw text. That is the same prompt only if
the text is tokenised there as it was put together here: checked here for each prompt, and against the server's own count.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from ..api import ChatModel, Completion, Message, Sampling, TokenModel
from ..words import counted


class Served:
    """A `TokenModel` of a server's raw completions and a local tokenizer. `reasons` says why prompts were not the same."""

    concurrent = True

    def __init__(self, server: ChatModel, tokenizer: TokenModel):
        self.name, self.context = server.name, tokenizer.context
        self._server, self._tokenizer = server, tokenizer
        self._lock = threading.Lock()
        self.reasons: list[str] = []

    def render(self, messages: Sequence[Message], **tools: Any) -> str:
        return self._tokenizer.render(messages, **tools)

    def encode(self, text: str, special: bool) -> list[int]:
        with self._lock:
            return self._tokenizer.encode(text, special)

    def decode(self, ids: Sequence[int]) -> str:
        with self._lock:
            return self._tokenizer.decode(ids)

    def complete(self, prompts: Sequence[str], sampling: Sampling) -> list[Completion]:
        return self._server.complete(prompts, sampling)

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return self.complete([self.render(messages)], sampling)[0]

    def complete_tokens(self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]) -> list[Completion]:
        """Continue each prompt as raw text; what was said is given back as this tokenizer's tokens."""
        return [self._complete(list(prompt), sampling) for prompt, sampling in zip(prompts, samplings, strict=True)]

    def _complete(self, prompt: list[int], sampling: Sampling) -> Completion:
        text = self._text(prompt)
        if self.encode(text, special=True) != prompt:
            self._differs("a prompt written as text is tokenised otherwise: a tool said a control token, or words join")
        answer = self._server.complete([text], sampling)[0]
        if getattr(self._server, "raw", True) is False:
            self._differs("the server has no raw completions; prompts went through its chat template")
        elif answer.prompt_tokens and answer.prompt_tokens != len(prompt):
            self._differs(f"the server counts {counted(answer.prompt_tokens, 'tokens')} in a prompt of {len(prompt)}")
        ids = self.encode(answer.text, special=False)
        return Completion(
            answer.text,
            answer.finish,
            answer.prompt_tokens or len(prompt),
            answer.completion_tokens,
            answer.evaluated_tokens,
            answer.seconds,
            tuple(ids),
        )

    def _text(self, prompt: list[int]) -> str:
        """The prompt as text, control tokens written out."""
        written = getattr(self._tokenizer, "written", self._tokenizer.decode)
        with self._lock:
            return written(prompt)

    def _differs(self, reason: str) -> None:
        with self._lock:
            if reason not in self.reasons:
                self.reasons.append(reason)

    def close(self) -> None:
        self._server.close()
        self._tokenizer.close()


def unlike(model: object) -> list[str]:
    """Why this model's prompts are not token by token those of other backends; empty if they are."""
    if isinstance(model, Served):
        return list(model.reasons)
    if not hasattr(model, "complete_tokens"):
        return ["the backend is given text, not tokens: what it continues may differ from other backends"]
    return []
