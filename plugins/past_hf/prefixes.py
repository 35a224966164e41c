"""What was read last is kept: a prompt that begins like an earlier one is evaluated from where they part.

An agent's prompt only grows, so each turn pays for the new text alone. Kept values were computed in other batches than fresh ones
would be: the last bits of the logits may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from . import caches
from .compute import plain
from .habits import MORE, alone, habits, holds, remembered, same, samples
from .lengths import turn
from .reading import read, takes

Values = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of every layer, each (1, heads, tokens, width)."""


@dataclass
class Row:
    """One sequence: its tokens, their keys and values, and the logits (1, V) after the last; `evaluated` were computed now.

    `settled` is how many of the tokens are its last prompt: what follows, its answer, the next prompt may leave out.
    """

    ids: list[int]
    values: Values
    logits: torch.Tensor
    evaluated: int
    settled: int


class Prefixes:
    """The last rows read by one model, as many as were read together."""

    def __init__(self, model: Any):
        self._model = plain(model)
        self._rows: list[Row] = []
        self._habits, self._takes = habits(self._model), takes(self._model)
        self._argument = caches.argument(self._model)

    @property
    def possible(self) -> bool:
        """Whether rows of this model can be kept so; where they cannot, `read` means nothing."""
        return remembered(self._model, "prefixes", lambda: holds(lambda: _possible(self._model)))

    @torch.no_grad()
    def read(self, prompts: Sequence[Sequence[int]]) -> list[Row]:
        """A row for each prompt, evaluated up to its end."""
        kept, self._rows = self._rows, []
        rows = []
        for prompt in prompts:
            row = self._extended(list(prompt), kept)
            kept = [other for other in kept if other is not row]
            rows.append(row)
        self._rows = [*rows, *kept][: max(len(rows), len(kept))]
        return rows

    def keep(self, row: Row, ids: Sequence[int], cache: DynamicCache) -> None:
        """Remember what followed a row too: `ids` are all tokens that `cache` holds."""
        row.ids, row.values = list(ids), [(layer.keys, layer.values) for layer in cache.layers]

    def _extended(self, prompt: list[int], kept: list[Row]) -> Row:
        """The prompt's row: the kept one that it carries on, or a copy of the longest common beginning, or a fresh one."""
        shared = [_common(row.ids, prompt) for row in kept]
        best = max(
            range(len(shared)), key=lambda place: (shared[place] >= kept[place].settled, shared[place]), default=None
        )
        start = min(shared[best], len(prompt) - 1) if best is not None else 0
        row = kept[best] if best is not None and shared[best] >= kept[best].settled else None
        values = (
            [(k[..., :start, :], v[..., :start, :]) for k, v in kept[best].values] if start and best is not None else []
        )
        if row is None:  # another's beginning stays with its owner
            row = Row([], [], torch.empty(0), 0, 0)
        cache = filled(values, self._model.config)
        here = next(self._model.parameters()).device
        new = torch.tensor([prompt[start:]], device=here)
        given: dict[str, Any] = {self._argument: cache, "use_cache": True, "logits_to_keep": 1}
        if self._habits.positions:
            given["position_ids"] = torch.arange(start, len(prompt), device=here)[None]
        out = self._model(input_ids=new, **{name: value for name, value in given.items() if name in self._takes})
        row.ids, row.settled, row.evaluated = prompt, len(prompt), len(prompt) - start
        row.logits = out.logits[:, -1]
        row.values = [(layer.keys, layer.values) for layer in cache.layers]
        return row


def _possible(model: Any) -> bool:
    """Whether what was read of a row alone can be padded, carried on beside others and cut back, tried on a few tokens.

    Layers that forget (sliding windows, recurrent states) cannot be cut back to a prefix, and need not be tried.
    """
    way = habits(model)
    layers = DynamicCache(config=model.config).layers
    if not way.padded or not way.cache or turn(model) or any(type(one).__name__ != "DynamicLayer" for one in layers):
        return False
    rows, kept = samples(model)[:2], Prefixes(model)
    prompts = [row[:-MORE] for row in rows]
    reading = read(model, way, prompts, 0, begun=together(kept.read(prompts), model.config))
    for step in range(-MORE, 0):
        reading.next(torch.tensor([row[step] for row in rows], device=reading.logits.device))
    if not same(model, reading.logits, torch.stack([alone(model, row)[1] for row in rows])):
        return False
    other = rows[0][: -MORE - 1] + rows[1][-MORE:]
    return same(model, kept.read([other])[0].logits[0], alone(model, other)[1])


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    count = 0
    for one, other in zip(a, b, strict=False):
        if one != other:
            break
        count += 1
    return count


def filled(values: Values, config: Any) -> DynamicCache:
    """A cache that holds these keys and values."""
    cache = DynamicCache(config=config)
    for layer, (keys, others) in enumerate(values):
        cache.update(keys, others, layer)
    return cache


def together(rows: Sequence[Row], config: Any) -> tuple[DynamicCache, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(cache, logits (B, V), attention mask (B, width), positions (B, 1)) of several rows, padded on the left."""
    width = max(len(row.ids) for row in rows)
    here = rows[0].logits.device
    values: Values = []
    for layer in range(len(rows[0].values)):
        parts = [(row.values[layer], width - len(row.ids)) for row in rows]
        pad = torch.nn.functional.pad
        keys = torch.cat([pad(k, (0, 0, gap, 0)) for (k, _), gap in parts])
        others = torch.cat([pad(v, (0, 0, gap, 0)) for (_, v), gap in parts])
        values.append((keys, others))
    mask = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in rows], device=here)
    positions = torch.tensor([[len(row.ids) - 1] for row in rows], device=here)
    return filled(values, config), torch.cat([row.logits for row in rows]), mask, positions
