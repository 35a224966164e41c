"""Rows of tokens that a model has read, and reads on by a token each: with what it keeps of them in a cache, or all again."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from .compute import pad_right, plain, unrouted, whole_pass

Begun = tuple[DynamicCache, torch.Tensor, torch.Tensor, torch.Tensor]
"""Rows read already (see `prefixes`): cache, logits (B, V) after them, attention mask (B, L), positions (B, 1)."""


@dataclass(frozen=True)
class Habits:
    """How a model can be read so that every row gets what it would get alone; `habits.habits` finds out which.

    `cache` is the argument that takes what was read; "": everything is read again for each token. `padded`: rows of different
    lengths may be read together. `positions`: it is told them. `divisible`: rows of its cache can be repeated and dropped.
    """

    cache: str
    padded: bool
    positions: bool = False
    divisible: bool = False


def takes(model: Any) -> frozenset[str]:
    """The arguments that a model's forward pass has by name, and those that it may hand on: a mask and positions. Whether these are
    heeded shows when it is tried."""
    parameters = inspect.signature(plain(model).forward).parameters.values()
    hands_on = any(one.kind is one.VAR_KEYWORD for one in parameters)
    return frozenset(one.name for one in parameters) | frozenset(("attention_mask", "position_ids") if hands_on else ())


def read(
    model: Any, habits: Habits, prompts: Sequence[Sequence[int]], pad: int, copies: int = 1, begun: Begun | None = None
) -> Cached | Whole:
    """The prompts, each `copies` times, neighbours; of equal lengths unless `habits` allow others. `begun` are the same, read."""
    if not habits.cache:
        return Whole(model, [list(prompt) for prompt in prompts for _ in range(copies)], pad)
    return Cached(model, habits, prompts, pad, copies, begun)


class Cached:
    """Rows padded on the left; `logits` (B, V) are those after the last token of each."""

    def __init__(
        self,
        model: Any,
        habits: Habits,
        prompts: Sequence[Sequence[int]],
        pad: int,
        copies: int = 1,
        begun: Begun | None = None,
    ):
        self._model, self._habits, names = model, habits, takes(model)
        kept = {name: value for name, value in (("use_cache", True), ("logits_to_keep", 1)) if name in names}
        self._told, self._masked = kept | unrouted(model), "attention_mask" in names
        if begun is not None:
            self.cache, self.logits, self._mask, self._positions = begun
            return
        if copies > 1 and not habits.divisible:
            prompts, copies = [prompt for prompt in prompts for _ in range(copies)], 1
        self.cache = DynamicCache(config=plain(model).config)
        width = max(map(len, prompts))
        here = next(model.parameters()).device
        ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in prompts], device=here)
        self._mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=here)
        self._positions = (self._mask.cumsum(1) - 1).clamp(min=0)
        self.logits = self._pass(ids)
        self._positions = self._positions[:, -1:]
        if copies > 1:
            self.keep([row for row in range(len(ids)) for _ in range(copies)])

    def _pass(self, ids: torch.Tensor) -> torch.Tensor:
        given: dict[str, Any] = {self._habits.cache: self.cache, **self._told}
        if self._masked:
            given["attention_mask"] = self._mask
        if self._habits.positions:
            given["position_ids"] = self._positions
        return self._model(input_ids=ids, **given).logits[:, -1]

    def keep(self, rows: Sequence[int]) -> bool:
        """Let only these rows go on, in this order, some more than once; False where the cache cannot be divided."""
        if not self._habits.divisible:
            return False
        index = torch.tensor(rows, device=self.logits.device)
        self.cache.reorder_cache(index)
        self.logits, self._mask, self._positions = (part[index] for part in (self.logits, self._mask, self._positions))
        return True

    def next(self, token: torch.Tensor) -> None:
        """Read one more token (B,) a row."""
        self._positions = self._positions + 1
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], 1)
        self.logits = self._pass(token[:, None])


class Whole:
    """Rows padded on the right, which no earlier token can see, and read from their beginning each time."""

    def __init__(self, model: Any, rows: list[list[int]], pad: int):
        self._model, self._pad, self._rows = model, pad, rows
        self.logits = self._pass()

    def _pass(self) -> torch.Tensor:
        ids = pad_right(self._rows, self._pad, next(self._model.parameters()).device)
        logits = self._model(input_ids=ids, **whole_pass(self._model)).logits
        return logits[torch.arange(len(ids)), [len(row) - 1 for row in self._rows]]

    def keep(self, rows: Sequence[int]) -> bool:
        self._rows = [self._rows[row] for row in rows]
        self.logits = self.logits[list(rows)]
        return True

    def next(self, token: torch.Tensor) -> None:
        self._rows = [[*row, value] for row, value in zip(self._rows, token.tolist(), strict=True)]
        self.logits = self._pass()
