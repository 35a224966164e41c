"""Talking with a model: a question or a conversation in, text out as it is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from . import qa
from .api import ChatModel, Completion, Message, Sampling, TokenModel

CHUNK = 8
"""Tokens asked for at a time, where the text is to appear while it is made. What was evaluated before is reused."""


@dataclass
class Conversation:
    """One model and what was said so far.

    `form` is `chat` (the model's own template, everything said before it in view) or `qa` (the plain closed-book prompt that
    `past sft`, `past rl` and `past eval` use: each question by itself, the answer its first line).
    """

    model: ChatModel
    form: str
    sampling: Sampling
    said: list[Message] = field(default_factory=list)

    def ask(self, question: str) -> Iterator[str]:
        """The answer, piece by piece; afterwards it is part of the conversation."""
        prompt = qa.prompt_for(question)
        if self.form == "chat":
            self.said.append(Message("user", question))
            prompt = self.model.render(self.said)
        pieces = []
        for piece in self._pieces(prompt):
            pieces.append(piece)
            yield piece
        if self.form == "chat":
            self.said.append(Message("assistant", "".join(pieces)))

    def _pieces(self, prompt: str) -> Iterator[str]:
        sampling = replace(self.sampling, stop=qa.STOP) if self.form == "qa" else self.sampling
        if not isinstance(self.model, TokenModel):
            yield _text(self.model.complete([prompt], sampling)[0], self.form)
            return
        ids, left, chunk = self.model.encode(prompt, special=True), sampling.max_tokens, 0
        shown, made = "", list[int]()
        while left > 0 and len(ids) + len(made) < self.model.context:
            # Each chunk continues the one before with a seed of its own, so that sampling does not repeat itself.
            seed = None if sampling.seed is None else sampling.seed + chunk
            wanted = replace(sampling, max_tokens=min(CHUNK, left), seed=seed)
            answer = self.model.complete_tokens([[*ids, *made]], [wanted])[0]
            if not answer.token_ids:
                return
            made += answer.token_ids
            whole = self.model.decode(made)
            for stop in sampling.stop:
                whole = whole.split(stop, 1)[0] if whole.strip() else whole
            whole = whole.lstrip() if self.form == "qa" else whole
            settled = whole if answer.finish == "stop" else whole.removesuffix("\N{REPLACEMENT CHARACTER}")
            if len(settled) > len(shown):
                yield settled[len(shown) :]
                shown = settled
            if answer.finish == "stop":
                return
            left, chunk = left - len(answer.token_ids), chunk + 1


def _text(answer: Completion, form: str) -> str:
    return qa.first_line(answer.text) if form == "qa" else answer.text.strip()
