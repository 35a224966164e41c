"""Batched decoding: each prompt is read once, its cache is shared by its copies, finished rows leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pastcli.errors import MismatchError

from .compute import plain
from .habits import habits
from .lengths import turn
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


_OTHER_WORDS = """
repetition_penalty encoder_repetition_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids suppress_tokens
begin_suppress_tokens forced_bos_token_id forced_eos_token_id sequence_bias min_length min_new_tokens exponential_decay_length_penalty
guidance_scale
""".split()


def unheeded(model: Any) -> str:
    """Which settings of a model's generation_config.json would have transformers (and vLLM) choose other words than the likeliest; "" if
    none: answers are compared and rewarded here, and a penalty is no part of a model."""
    declared = plain(model).generation_config
    asked = {name: getattr(declared, name, None) for name in _OTHER_WORDS}
    return ", ".join(f"{name} {str(value)[:40]}" for name, value in asked.items() if value not in (None, 0, 1, [], {}))


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
    said: Sequence[list[int]] = (),
    sound: bool = False,
) -> list[list[int]]:
    """Continue each token list `copies` times; the results of one prompt are neighbours.

    A continuation ends with the token that made `stopped` true, or at `max_new_tokens`. Randomness comes from `draws`
    (rows, `max_new_tokens`), uniform in [0, 1), which makes a row's answer its own affair; else from `generator` (on
    the CPU) or torch's global state. Where the weights are sharded, all processes must make the same number of passes:
    `together(busy)` says whether any of them is busy, and one that has finished goes on without recording. `begun` are the
    prompts, read already (see `prefixes`); the cache then holds what was said as well. `said` is what each prompt ends with of
    its answer, which the results begin with.
    With `sound` NaN is refused (`MismatchError`): it would be taken for an answer. In training the watchdog sees it.
    """
    model = plain(model) if together is None else model
    known, at = habits(model), turn(model)
    apart = [_apart(len(prompt), known.padded, at, max_new_tokens) for prompt in prompts]
    if begun is None and (len(set(apart)) > 1 or _turns(len(prompts[0]), at, max_new_tokens)):
        if together is not None:
            raise MismatchError(
                f"{type(plain(model)).__name__} cannot read prompts of different lengths together",
                "train it whole in each process: --sharding none",
            )
        how: dict[str, Any] = dict(
            stopped=stopped, pad=pad, temperature=temperature, top_p=top_p, generator=generator, sound=sound
        )
        how |= dict(draws=draws, copies=copies)
        if len(set(apart)) > 1:
            return _in_groups(model, prompts, apart, max_new_tokens=max_new_tokens, **how)
        return _beyond(model, prompts, at + 1 - len(prompts[0]), max_new_tokens, **how)

    def chosen(logits: torch.Tensor, live: list[int], count: int) -> torch.Tensor:
        def draw() -> torch.Tensor:
            if draws is not None:
                return draws[live, count]
            return torch.rand(len(live), generator=generator, dtype=torch.float64)

        return pick(logits, temperature, top_p, draw, sound)

    reading = read(model, known, prompts, pad, copies, begun)
    return _continued(reading, chosen, max_new_tokens, stopped, together, said)


def _continued(
    reading: Cached | Whole,
    chosen: Callable[[torch.Tensor, list[int], int], torch.Tensor],
    most: int,
    stopped: Stopped,
    together: Callable[[bool], bool] | None,
    said: Sequence[list[int]],
) -> list[list[int]]:
    """What follows each row; `chosen(logits, rows, count)` are the next tokens of the rows that are left."""
    results = [list(before) for before in said] or [[] for _ in range(len(reading.logits))]
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


def _apart(length: int, padded: bool, at: int, most: int) -> int:
    """The same of prompts that may be read together: all, those of one length, or, where a model reads rows of more than `at` tokens
    otherwise, those that stay below it, those that begin beyond it, and those of one length that get there."""
    if not padded or _turns(length, at, most):
        return length
    return -1 if at and length > at else 0


def _turns(length: int, at: int, most: int) -> bool:
    return bool(at) and length <= at < length + most - 1


def _in_groups(
    model: Any, prompts: list[list[int]], apart: list[int], copies: int, draws: torch.Tensor | None, **how: Any
) -> list[list[int]]:
    """`generate`, each group of prompts by itself: beside others they would get other answers."""
    found: dict[int, list[int]] = {}
    for group in sorted(set(apart)):
        places = [place for place, one in enumerate(apart) if one == group]
        rows = [place * copies + copy for place in places for copy in range(copies)]
        answers = generate(
            model,
            [prompts[place] for place in places],
            copies=copies,
            draws=None if draws is None else draws[rows],
            **how,
        )
        found |= dict(zip(rows, answers, strict=True))
    return [found[row] for row in range(len(found))]


def _beyond(
    model: Any,
    prompts: list[list[int]],
    room: int,
    most: int,
    copies: int,
    draws: torch.Tensor | None,
    stopped: Stopped,
    **how: Any,
) -> list[list[int]]:
    """`generate` for prompts of one length, which are read anew after `room` tokens: from there on a model reads the whole row
    otherwise."""
    first = None if draws is None else draws[:, :room]
    found = generate(model, prompts, max_new_tokens=room, copies=copies, draws=first, stopped=stopped, **how)
    going = [row for row, ids in enumerate(found) if len(ids) == room and not stopped(ids)]
    if going:
        longer, said = [prompts[row // copies] + found[row] for row in going], [found[row] for row in going]
        rest = None if draws is None else draws[going, room:]
        more = generate(model, longer, max_new_tokens=most - room, draws=rest, said=said, stopped=stopped, **how)
        found = [dict(zip(going, more, strict=True)).get(row, ids) for row, ids in enumerate(found)]
    return found
