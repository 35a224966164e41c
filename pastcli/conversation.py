"""Talking with a model: a question or a conversation in, text out as it is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from . import qa
from .api import ChatModel, Completion, Message, Sampling, TokenModel
from .errors import ContextOverflow

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
        """The answer, piece by piece; afterwards it is part of the conversation. Raises `ContextOverflow` for what the model has no room
        to answer, and forgets it again."""
        prompt = qa.prompt_for(question)
        if self.form == "chat":
            self.said.append(Message("user", question))
            prompt = self.model.render(self.said)
        pieces = []
        try:
            for piece in self._pieces(prompt):
                pieces.append(piece)
                yield piece
        except ContextOverflow:
            del self.said[-1:]
            raise
        if self.form == "chat":
            self.said.append(Message("assistant", "".join(pieces)))

    def _pieces(self, prompt: str) -> Iterator[str]:
        """What is shown of the answer, piece by piece. Where an answer ends is the backend's to say (its end token, a stop
        string); what of it counts is `_shown`'s, whether it came at once or in chunks."""
        shown = ""
        for whole in self._growing(prompt):
            settled = _shown(whole, self.form)
            if len(settled) > len(shown):
                yield settled[len(shown) :]
                shown = settled

    def _growing(self, prompt: str) -> Iterator[str]:
        """The answer as far as it is made, without what ended it."""
        sampling = replace(self.sampling, stop=qa.STOP) if self.form == "qa" else self.sampling
        if not isinstance(self.model, TokenModel):
            yield self.model.complete([prompt], sampling)[0].text
            return
        ids, left, chunk = self.model.encode(prompt, special=True), sampling.max_tokens, 0
        if len(ids) >= self.model.context:
            said = "with what was said before, " if len(self.said) > 1 else ""
            raise ContextOverflow(
                f"{said}a prompt of {len(ids)} tokens does not fit the model's {self.model.context}",
                "ask something shorter",
            )
        made = list[int]()
        while left > 0 and len(ids) + len(made) < self.model.context:
            # Each chunk continues the one before with a seed of its own, so that sampling does not repeat itself.
            seed = None if sampling.seed is None else sampling.seed + chunk
            wanted = replace(sampling, max_tokens=min(CHUNK, left), seed=seed)
            answer = self.model.complete_tokens([[*ids, *made]], [wanted])[0]
            if answer.finish == "stop":
                yield self._ended(made, answer)
                return
            if not answer.token_ids:
                return
            made += answer.token_ids
            # Half of a character waits for its other half.
            yield self.model.decode(made).removesuffix("\N{REPLACEMENT CHARACTER}")
            left, chunk = left - len(answer.token_ids), chunk + 1

    def _ended(self, made: Sequence[int], last: Completion) -> str:
        """The whole answer. `token_ids` of a completion may hold the end token or go on behind a stop string; its text does not."""
        kept = list(last.token_ids)
        while kept and not last.text.startswith(self._text(kept)):
            kept.pop()
        return self._text([*made, *kept]) + last.text[len(self._text(kept)) :]

    def _text(self, ids: Sequence[int]) -> str:
        assert isinstance(self.model, TokenModel)
        return self.model.decode(ids) if ids else ""


def _shown(text: str, form: str) -> str:
    """What of a text is the answer: of a closed-book one what `past eval` grades."""
    return qa.first_line(text) if form == "qa" else text.strip()
