"""A key-value cache of many sequences that grow apart: each row is written from its own end on, in place.

Transformers' own cache appends one column for all rows and copies itself at every token. Here a row's token of position p
stands in column p, so that episodes of different lengths need no padding between them, rows that have finished stay
while others go on, and the prompt that a group shares is read once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from . import caches
from .compute import plain
from .habits import MORE, alone, holds, remembered, same, samples
from .lengths import turn

ATTENTION = "past_grouped"
_CHANGES = ("attn_logit_softcapping", "attention_sinks")


def possible(model: Any) -> bool:
    """True if every layer attends to all earlier tokens, and in the plain way: then `grouped` computes what it does.

    Attention that adds something of its own (sinks, offsets, scores that are capped) says so nowhere: it is tried.
    """
    return remembered(model, "lines", lambda: holds(lambda: _possible(plain(model))))


def _possible(model: Any) -> bool:
    config = model.config.get_text_config()
    layers = DynamicCache(config=model.config).layers
    usual = not any(getattr(config, name, None) for name in _CHANGES) and hasattr(config, "num_key_value_heads")
    usual = usual and not getattr(config, "is_heterogeneous", False) and not turn(model)
    if not layers or any(type(layer) is not DynamicLayer for layer in layers) or not usual:
        return False
    rows = samples(model)[:2]
    wanted = [alone(model, row) for row in rows]
    with attending(model):
        width = len(rows[0])
        lines = Lines(model, 2, width - MORE + 1)
        read = lines.read(0, [row[:-MORE] for row in rows], [0, 0])
        lines, turned = lines.copied([1, 0], width + 1), rows[::-1]
        for step in range(-MORE, 0):
            logits = lines.read(0, [[row[step]] for row in turned], [len(row) + step for row in turned])
    before, after = (torch.stack([both[part] for both in wanted]) for part in (0, 1))
    return same(model, read, before) and same(model, logits, after.flip(0))


def grouped(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor, **given: Any
) -> tuple[torch.Tensor, None]:
    """Attention of queries (B, H, Q, D) to keys (B, G, L, D) whose heads serve H / G of the queries' each, without copying them.

    The mask (B, 1, Q, L) is added to the scores, whose softmax is taken in float32.
    """
    rows, heads, length, width = query.shape
    shared = key.shape[1]
    scaling = given.get("scaling") or width**-0.5
    scores = query.reshape(rows, shared, -1, width) @ key.transpose(2, 3)
    scores = scores.view(rows, heads, length, -1).float() * scaling + attention_mask
    weights = scores.softmax(-1).to(query.dtype).view(rows, shared, heads // shared * length, -1)
    return (weights @ value).view(rows, heads, length, width).transpose(1, 2), None


AttentionInterface.register(ATTENTION, grouped)


@contextmanager
def attending(model: Any) -> Iterator[None]:
    """The model attends by `grouped` within the block."""
    configs = {id(config): config for config in (model.config, model.config.get_text_config())}.values()
    before = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation = ATTENTION
        yield
    finally:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name


@dataclass
class _Place:
    """What the layers of some lines are told: rows `begin` to `end` are worked on, `at` (end - begin, Q) are the columns of
    the tokens that come next, `reach` the first column behind them all.

    The layers hold this and not the lines: lines that hold themselves would keep their gigabyte until a search for garbage.
    """

    rows: int
    width: int
    begin: int
    end: int
    reach: int
    at: torch.Tensor


class Lines:
    """Room for `rows` sequences of up to `width` tokens."""

    def __init__(self, model: Any, rows: int, width: int):
        self.width = width
        self._place = _Place(rows, width, 0, rows, 0, torch.empty(0))
        self.layers = [_Layer(self._place) for _ in DynamicCache(config=model.config).layers]
        self.cache = Cache(layers=self.layers)
        self._kept = {caches.argument(model): self.cache}
        self._model = model

    def read(self, begin: int, tokens: Sequence[Sequence[int]], starts: Sequence[int]) -> torch.Tensor:
        """Logits (rows, V) after `tokens` of the rows from `begin` on, which stand from column `starts` on."""
        longest = max(map(len, tokens))
        here = next(self._model.parameters()).device
        gaps = [longest - len(row) for row in tokens]
        ids = torch.tensor([[0] * gap + list(row) for gap, row in zip(gaps, tokens, strict=True)], device=here)
        positions = torch.tensor(
            [
                [0] * gap + list(range(start, start + len(row)))
                for gap, row, start in zip(gaps, tokens, starts, strict=True)
            ],
            device=here,
        )
        real = torch.tensor([[0] * gap + [1] * len(row) for gap, row in zip(gaps, tokens, strict=True)], device=here)
        # What fills up a shorter row is written where nothing is ever read: the last column.
        place = self._place
        place.at = torch.where(real.bool(), positions, self.width - 1)
        place.begin, place.end = begin, begin + len(tokens)
        place.reach = max(start + len(row) for start, row in zip(starts, tokens, strict=True))
        columns = torch.arange(place.reach, device=here)
        hidden = columns > positions[:, :, None]
        mask = torch.zeros(hidden.shape, device=here).masked_fill_(hidden, torch.finfo(torch.float32).min)
        return self._model(
            input_ids=ids,
            attention_mask=mask[:, None],
            position_ids=positions,
            **self._kept,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

    def copied(self, order: Sequence[int], width: int) -> Lines:
        """The rows `order` of these, some more than once, as new lines."""
        made = Lines(self._model, len(order), width)
        index = torch.tensor(order)
        for mine, other in zip(self.layers, made.layers, strict=True):
            other.take(mine, index.to(mine.keys.device), min(self.width, width) - 1)
        return made

    def swap(self, one: int, other: int) -> None:
        """Exchange two rows."""
        for layer in self.layers:
            for part in (layer.keys, layer.values):
                part[[one, other]] = part[[other, one]]


class _Layer(DynamicLayer):
    """Keys and values (rows, G, width, D) of one layer."""

    def __init__(self, place: _Place):
        super().__init__()
        self._place = place

    def take(self, other: _Layer, rows: torch.Tensor, width: int) -> None:
        """The first `width` columns of some rows of another."""
        self._allocate(other.keys)
        self.keys[:, :, :width] = other.keys[rows, :, :width]
        self.values[:, :, :width] = other.values[rows, :, :width]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        place = self._place
        if not self.is_initialized:
            self._allocate(key_states)
        rows = torch.arange(place.begin, place.end, device=key_states.device)[:, None]
        for kept, new in ((self.keys, key_states), (self.values, value_states)):
            kept.transpose(1, 2)[rows, place.at] = new.transpose(1, 2)
        part = slice(place.begin, place.end)
        return self.keys[part, :, : place.reach], self.values[part, :, : place.reach]

    def _allocate(self, like: torch.Tensor) -> None:
        place = self._place
        shape = (place.rows, like.shape[1], place.width, like.shape[3])
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)
        self.dtype, self.device, self.is_initialized = like.dtype, like.device, True

    def get_seq_length(self) -> int:
        return 0
