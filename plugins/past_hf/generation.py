"""Batched decoding: each prompt is read once, its cache is shared by its copies, finished rows leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from pastcli.errors import MismatchError

from . import caches
from .compute import plain

Stopped = Callable[[list[int]], bool]
NO_NUMBER = (
    "the model computes NaN instead of an answer",
    "its weights hold NaN or infinity, or are too large for the type it computes in (--precision fp32)",
)


def stop_rule(tokenizer: Any, end_tokens: set[int], stop: Sequence[str]) -> Stopped:
    """True once the last token is an end token or the text of the last few tokens holds a stop string."""
    window = max(map(len, stop), default=0) + 1

    def stopped(ids: list[int]) -> bool:
        if ids[-1] in end_tokens:
            return True
        text = tokenizer.decode(ids[-window:]) if stop else ""
        return any(word in text for word in stop)

    return stopped


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Every token the model or its tokenizer declares as the end."""
    declared = getattr(plain(model).generation_config, "eos_token_id", None)
    found = set(declared if isinstance(declared, list) else [declared]) | {tokenizer.eos_token_id}
    return {token for token in found if token is not None}


def pick(
    logits: torch.Tensor, temperature: float, top_p: float, draw: Callable[[], torch.Tensor] | None, sound: bool = False
) -> torch.Tensor:
    """One token a row (B,) from logits (B, V): the best, or the one at `draw()` (B,) of the cumulative distribution. With
    `sound` NaN among the logits is refused (`MismatchError`)."""
    if sound and logits.amax(-1).isnan().any():  # the largest of a row is NaN where any is
        raise MismatchError(*NO_NUMBER)
    if temperature <= 0:
        return logits.argmax(-1)
    assert draw is not None, "sampling needs numbers to draw with"
    probabilities = (logits.float() / temperature).softmax(-1)
    if top_p < 1.0:
        ordered, order = probabilities.sort(-1, descending=True)
        ordered[ordered.cumsum(-1) - ordered > top_p] = 0.0
        probabilities = torch.zeros_like(probabilities).scatter_(-1, order, ordered)
    cumulative = probabilities.double().cumsum(-1)
    chosen = torch.searchsorted(cumulative, draw()[:, None].to(logits.device) * cumulative[:, -1:], right=True)
    return chosen.clamp(max=logits.shape[-1] - 1)[:, 0]


def _divisible(cache: DynamicCache) -> bool:
    """Whether rows of a cache can be repeated and dropped: recurrent states cannot."""
    return all(hasattr(layer, "batch_select_indices") for layer in cache.layers)


def _read(
    model: Any, prompts: list[list[int]], pad: int, copies: int, step: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (B x copies, V) after the prompts, attention mask and positions, with the prompts in the cache of `step`."""
    cache = step[caches.argument(model)]
    if copies > 1 and not _divisible(cache):
        prompts, copies = [prompt for prompt in prompts for _ in range(copies)], 1
    width = max(map(len, prompts))
    here = next(model.parameters()).device
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=here)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=here)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, **step).logits[:, -1]
    positions = positions[:, -1:]
    if copies > 1:
        cache.batch_repeat_interleave(copies)
        logits, mask, positions = (part.repeat_interleave(copies, 0) for part in (logits, mask, positions))
    return logits, mask, positions


def _step(model: Any, cache: DynamicCache) -> dict[str, Any]:
    """What every pass is given beside tokens, mask and positions."""
    step: dict[str, Any] = {caches.argument(model): cache, "use_cache": True, "logits_to_keep": 1}
    if getattr(model.config.get_text_config(), "output_router_logits", False):
        step["output_router_logits"] = False  # a loss for training, which one token at a time has no use for
    return step


@torch.no_grad()
def generate(
    model: Any,
    prompts: list[list[int]],
    *,
    max_new_tokens: int,
    stopped: Stopped,
    pad: int,
    copies: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
    draws: torch.Tensor | None = None,
    together: Callable[[bool], bool] | None = None,
    begun: tuple[DynamicCache, torch.Tensor, torch.Tensor, torch.Tensor] | None = None,
    sound: bool = False,
) -> list[list[int]]:
    """Continue each token list `copies` times; the results of one prompt are neighbours.

    A continuation ends with the token that made `stopped` true, or at `max_new_tokens`. Randomness comes from `draws`
    (rows, `max_new_tokens`), uniform in [0, 1), which makes a row's answer its own affair; else from `generator` (on
    the CPU) or torch's global state. Where the weights are sharded, all processes must make the same number of passes:
    `together(busy)` says whether any of them is busy, and one that has finished goes on without recording. `begun` are
    prompts read already (see `prefixes`): cache, logits, mask and positions; the cache then holds what was said as well.
    With `sound` NaN is refused (`MismatchError`): it would be taken for an answer. In training the watchdog sees it.
    """
    model = plain(model) if together is None else model
    cache = begun[0] if begun else DynamicCache(config=model.config)
    step = _step(model, cache)
    logits, mask, positions = begun[1:] if begun else _read(model, prompts, pad, copies, step)
    results: list[list[int]] = [[] for _ in range(len(logits))]
    live = list(range(len(logits)))
    idle, count, finished = False, 0, set[int]()  # rows that have ended stay where they cannot be dropped

    def draw() -> torch.Tensor:
        if draws is not None:
            return draws[live, count]
        return torch.rand(len(live), generator=generator, dtype=torch.float64)

    for count in range(max_new_tokens):
        token = pick(logits, temperature, top_p, draw, sound)
        for row, value in zip(live, token.tolist(), strict=True):
            if not idle and row not in finished:
                results[row].append(value)
        finished |= {row for row in live if row not in finished and stopped(results[row])}
        going = [] if idle else [index for index, row in enumerate(live) if row not in finished]
        busy = bool(going) and count < max_new_tokens - 1
        if not (busy if together is None else together(busy)):
            break
        if not going:
            idle, going = True, [0]
        if len(going) < len(live) and _divisible(cache):
            keep = torch.tensor(going, device=logits.device)
            cache.batch_select_indices(keep)
            token, mask, positions = token[keep], mask[keep], positions[keep]
            live = [live[index] for index in going]
        positions = positions + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        logits = model(input_ids=token[:, None], attention_mask=mask, position_ids=positions, **step).logits[:, -1]
    return results
