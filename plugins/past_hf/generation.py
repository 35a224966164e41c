"""Batched decoding: each prompt is read once, its cache is shared by its copies, finished rows leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pastcli.errors import MismatchError

from .compute import plain
from .habits import habits
from .reading import Begun, Cached, Whole, read

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
    begun: Begun | None = None,
    sound: bool = False,
) -> list[list[int]]:
    """Continue each token list `copies` times; the results of one prompt are neighbours.

    A continuation ends with the token that made `stopped` true, or at `max_new_tokens`. Randomness comes from `draws`
    (rows, `max_new_tokens`), uniform in [0, 1), which makes a row's answer its own affair; else from `generator` (on
    the CPU) or torch's global state. Where the weights are sharded, all processes must make the same number of passes:
    `together(busy)` says whether any of them is busy, and one that has finished goes on without recording. `begun` are the
    prompts, read already (see `prefixes`); the cache then holds what was said as well.
    With `sound` NaN is refused (`MismatchError`): it would be taken for an answer. In training the watchdog sees it.
    """
    model = plain(model) if together is None else model
    known = habits(model)
    if begun is None and not known.padded and len(set(map(len, prompts))) > 1:
        if together is not None:
            raise MismatchError(
                f"{type(plain(model)).__name__} cannot read prompts of different lengths together",
                "train it whole in each process: --sharding none",
            )
        how = dict(max_new_tokens=max_new_tokens, stopped=stopped, pad=pad, copies=copies, temperature=temperature)
        return _by_length(model, prompts, draws, **how, top_p=top_p, generator=generator, sound=sound)

    def chosen(logits: torch.Tensor, live: list[int], count: int) -> torch.Tensor:
        def draw() -> torch.Tensor:
            if draws is not None:
                return draws[live, count]
            return torch.rand(len(live), generator=generator, dtype=torch.float64)

        return pick(logits, temperature, top_p, draw, sound)

    return _continued(read(model, known, prompts, pad, copies, begun), chosen, max_new_tokens, stopped, together)


def _continued(
    reading: Cached | Whole,
    chosen: Callable[[torch.Tensor, list[int], int], torch.Tensor],
    most: int,
    stopped: Stopped,
    together: Callable[[bool], bool] | None,
) -> list[list[int]]:
    """What follows each row; `chosen(logits, rows, count)` are the next tokens of the rows that are left."""
    results: list[list[int]] = [[] for _ in range(len(reading.logits))]
    live = list(range(len(results)))
    idle, finished = False, set[int]()  # rows that have ended stay where they cannot be dropped
    for count in range(most):
        token = chosen(reading.logits, live, count)
        for row, value in zip(live, token.tolist(), strict=True):
            if not idle and row not in finished:
                results[row].append(value)
        finished |= {row for row in live if row not in finished and stopped(results[row])}
        going = [] if idle else [index for index, row in enumerate(live) if row not in finished]
        busy = bool(going) and count < most - 1
        if not (busy if together is None else together(busy)):
            break
        if not going:
            idle, going = True, [0]
        if len(going) < len(live) and reading.keep(going):
            token = token[torch.tensor(going, device=token.device)]
            live = [live[index] for index in going]
        reading.next(token)
    return results


def _by_length(model: Any, prompts: list[list[int]], draws: torch.Tensor | None, **how: Any) -> list[list[int]]:
    """`generate`, for each length of prompt by itself: padding would change the answers."""
    found: dict[int, list[int]] = {}
    for length in sorted(set(map(len, prompts))):
        places = [place for place, prompt in enumerate(prompts) if len(prompt) == length]
        rows = [place * how["copies"] + copy for place in places for copy in range(how["copies"])]
        answers = generate(
            model, [prompts[place] for place in places], draws=None if draws is None else draws[rows], **how
        )
        found |= dict(zip(rows, answers, strict=True))
    return [found[row] for row in range(len(found))]
