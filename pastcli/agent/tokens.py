"""A prompt as pieces, and the pieces as tokens: the template's, the model's own as it sampled them, and plain text.

Only what the template says may hold control tokens. What the model sampled is never tokenised again, so the next prompt
extends what was evaluated, and a policy is trained on the very tokens it chose. What a tool says is tokenised
as text without special tokens: no list of strings to escape could ever be complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from ..api import Completion, TokenModel

TEMPLATE, MODEL, TEXT = "template", "model", "text"


@dataclass(frozen=True)
class Piece:
    """A stretch of a prompt: `kind` says who wrote it. `sampled` are the token ids of a `model` piece, where known;
    they may say more than `text`, which is the part of the turn that was kept."""

    kind: str
    text: str
    sampled: tuple[int, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """What a model is to continue. It only ever grows: each turn's pieces begin with those of the turn before."""

    pieces: tuple[Piece, ...]

    def __add__(self, more: Sequence[Piece]) -> Prompt:
        return Prompt((*self.pieces, *more))

    @property
    def text(self) -> str:
        """The prompt for a model that takes text."""
        return "".join(piece.text for piece in self.pieces)


def said(completion: Completion, used: str) -> Piece:
    """The model's own turn, as far as it is kept."""
    return Piece(MODEL, used, completion.token_ids)


def takes_tokens(model: Any) -> TypeGuard[TokenModel]:
    """True for a model that is asked in tokens."""
    return hasattr(model, "complete_tokens")


@dataclass
class TokenLine:
    """The tokens of one episode's growing prompt. `mask[i]` is 1 where the model sampled `ids[i]`.

    `opening` is how many tokens stood there before the model said anything.
    """

    model: TokenModel
    ids: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    opening: int = 0
    _pieces: int = 0
    _ahead: tuple[int, ...] = ()

    def extend(self, prompt: Prompt) -> list[int]:
        """The token ids of `prompt`, whose beginning is what was given before."""
        for piece in prompt.pieces[self._pieces :]:
            if piece.kind == MODEL:
                self._append_sampled(piece)
            else:
                self._append_written(piece)
        self._pieces = len(prompt.pieces)
        return list(self.ids)

    def rollout(self, last: Completion) -> tuple[list[int], list[int], list[int]]:
        """(prompt ids, completion ids, mask of the completion), the last turn's tokens included: for reinforcement learning."""
        ids, mask = [*self.ids, *last.token_ids], [*self.mask, *([1] * len(last.token_ids))]
        return ids[: self.opening], ids[self.opening :], mask[self.opening :]

    def _append_written(self, piece: Piece) -> None:
        if piece.kind == TEMPLATE and self.ids:
            ids = self._without_beginning(piece.text)
        else:
            ids = self.model.encode(piece.text, special=piece.kind == TEMPLATE)
        # The model began to write this itself before it was stopped ("\nObservation"): its choice where it is the same.
        own = 0
        while own < min(len(ids), len(self._ahead)) and ids[own] == self._ahead[own]:
            own += 1
        self._ahead = ()
        self.ids += ids
        self.mask += [1] * own + [0] * (len(ids) - own)
        self.opening = self.opening or len(self.ids)

    def _without_beginning(self, text: str) -> list[int]:
        """A later piece of the template: control tokens count, but no prompt begins here."""
        ids, beginning = self.model.encode(text, special=True), self.model.encode("", special=True)
        return ids[len(beginning) :] if beginning and ids[: len(beginning)] == beginning else ids

    def _append_sampled(self, piece: Piece) -> None:
        """The sampled tokens that lie whole inside the text kept; what is left of it, a part of a token, as text."""
        count = len(piece.sampled)
        while count and not self._is_prefix(piece.sampled[:count], piece.text):
            count -= 1
        kept = piece.sampled[:count]
        rest = piece.text[len(self.model.decode(kept)) :] if kept else piece.text
        written = self.model.encode(rest, special=False) if rest else []
        self.ids += [*kept, *written]
        self.mask += [1] * len(kept) + [0] * len(written)
        self._ahead = () if rest else piece.sampled[count:]

    def _is_prefix(self, ids: Sequence[int], text: str) -> bool:
        return text.startswith(self.model.decode(ids))
