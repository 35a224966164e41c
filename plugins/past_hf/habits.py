"""What can be done with a model, found by trying it on a few tokens: it must say of rows together what it says of each alone.

Architectures differ in what they make of padding, of the positions they are told, of a cache that is cut or copied, and most
take everything without complaint: an answer would be another one, or depend on its neighbours, and nobody would be told.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from pastcli import cache
from pastcli.installed import versions_of

from . import caches
from .compute import plain, whole_pass
from .lengths import named, shortened, turn
from .reading import Habits, read, takes

Found = TypeVar("Found", bool, Habits)

KEPT = "habits"
"""In the cache: what was found of a kind of model. A trial takes some ten forward passes, which of a large model is a minute."""

SHORT, LONG, MORE = 4, 7, 2
"""Tokens of the two prompts that are tried, and of what follows."""
REACH, NEAR, FAR = 13, 12, 31
"""What lengths are cut down to in a trial of a model that reads long rows otherwise, and the tokens of its prompts: one that gets
there while it is read on, one far beyond. An index picks among so many that a choice which hangs on the rows beside it shows."""
CLOSE, CLOSE_IN_16_BITS = 1e-3, 0.05
"""Root mean square of the difference of two logits that are the same, in standard deviations of the logits."""


def remembered(model: Any, name: str, find: Callable[[], Found]) -> Found:
    """What `find` gives, kept with the model and in the cache for others of its kind; asked of it as it answers, without dropout and
    gradients, and as it reads rows beyond the lengths of its configuration."""
    known = plain(model).__dict__.setdefault("_past_habits", {})
    if name not in known:
        key = _kind(model, name)
        known[name] = _recalled(key) if key else None
        if known[name] is None:
            with answering(model), shortened(model, REACH, lambda: holds(lambda: _tells(_lasts(model)))):
                known[name] = find()
                if key and _stands_for_its_kind(model):
                    found = known[name]
                    cache.remember(KEPT, key, json.dumps(found if isinstance(found, bool) else asdict(found)))
    return known[name]


@contextmanager
def answering(model: Any) -> Iterator[None]:
    """Within it a model answers: without dropout and gradients."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _kind(model: Any, name: str) -> str:
    """Where the cache keeps what was found of models like this one; "" where nothing is kept: processes that train together must all
    try, or none."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return ""
    first, config = next(model.parameters()), plain(model).config.to_dict()
    described = [
        name,
        type(model).__name__,
        type(plain(model)).__qualname__,
        {key: value for key, value in config.items() if key not in _OF_A_FILE},
        plain(model).config._attn_implementation,
        str(first.dtype),
        first.device.type,
        torch.is_autocast_enabled(first.device.type),
        versions_of(("torch", "transformers")),
        _tried_by(),
    ]
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()[:32]


_OF_A_FILE = ("_name_or_path", "transformers_version", "architectures")


@lru_cache
def _tried_by() -> str:
    """The code that reads and tries: with any other all is tried anew."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _recalled(key: str) -> Any:
    try:
        found = json.loads(cache.recall(KEPT, key))
        return found if isinstance(found, bool) else Habits(**found)
    except (ValueError, TypeError):
        return None


def _stands_for_its_kind(model: Any) -> bool:
    """Whether others of its kind can be told by this one: what a part of it does would not show while its weights are all alike, as
    offsets are that no training has touched, nor where it gives no numbers."""
    known = plain(model).__dict__["_past_habits"]
    if "stands" not in known:
        varies = all(_varies(one) for one in model.parameters())
        known["stands"] = varies and _tells(_lasts(model))
    return bool(known["stands"])


def _varies(weights: torch.Tensor) -> bool:
    flat = weights.detach().reshape(-1)
    return len(flat) < 2 or bool((flat[:1000] != flat[0]).any()) or bool((flat != flat[0]).any())


def habits(model: Any) -> Habits:
    """The quickest way of reading that gives every row what it gets alone."""
    return remembered(model, "reading", lambda: _habits(model))


def _habits(model: Any) -> Habits:
    ways = list(_ways(caches.argument(model), takes(model)))
    rows = samples(model)
    wanted = [alone(model, row) for row in rows]
    if not all(map(_tells, wanted)):
        return ways[0]  # made-up weights, or no numbers at all, which whoever asks is told
    return next((way for way in ways[:-1] if holds(partial(_tried, model, way, rows, wanted))), ways[-1])


def _ways(argument: str, names: frozenset[str]) -> Iterator[Habits]:
    """From the quickest to the one that is right by definition: rows of one length, read whole."""
    if argument:
        told = ("position_ids" in names, False)
        kinds = [(True, positions) for positions in dict.fromkeys(told)] if "attention_mask" in names else []
        for padded, positions in [*kinds, (False, False)]:
            yield Habits(argument, padded, positions, divisible=True)
            yield Habits(argument, padded, positions, divisible=False)
    yield Habits("", padded=True)
    yield Habits("", padded=False)


def samples(model: Any) -> list[list[int]]:
    """Two rows of different lengths and a third as long as the first, each with what follows its prompt."""
    config = plain(model).config.get_text_config()
    count = model.get_input_embeddings().weight.shape[0]
    special = _special(config)
    usual = [token for token in range(5, count) if token not in special] or [0]
    short, long = (NEAR, FAR) if named(model, 0) else (SHORT, LONG)
    lengths = [length + MORE for length in (long, short, long)]
    return [[usual[(37 * at + 101 * row) % len(usual)] for at in range(length)] for row, length in enumerate(lengths)]


def _special(config: Any) -> set[Any]:
    """The tokens that a configuration gives a meaning: several ends, as Llama 3 Instruct and Gemma 3 have them, come as a list."""
    named = (getattr(config, name, None) for name in ("pad_token_id", "bos_token_id", "eos_token_id"))
    return {token for one in named for token in (one if isinstance(one, list | tuple) else [one])}


def alone(model: Any, row: Sequence[int]) -> torch.Tensor:
    """(2, V): the logits after a row's prompt and after the whole row, each read by itself."""
    here = next(model.parameters()).device
    ends = [row[:-MORE], row]
    return torch.stack(
        [model(input_ids=torch.tensor([ids], device=here), **whole_pass(model)).logits[0, -1] for ids in ends]
    )


def _lasts(model: Any) -> torch.Tensor:
    return alone(model, samples(model)[0])


def looks_ahead(model: Any) -> bool:
    """Whether a model sees the tokens that it is to predict, as BERT does unless it is made a decoder."""

    def find() -> bool:
        row = samples(model)[0]
        here = next(model.parameters()).device
        logits = model(input_ids=torch.tensor([row], device=here), **whole_pass(model)).logits[0, -1 - MORE]
        before = alone(model, row)[0]
        return _tells(before) and not same(model, logits, before)

    return remembered(model, "ahead", find)


def _cards(model: Any) -> list[torch.device]:
    """The cards that hold a model. Those that it is not on are left alone: to ask for their state starts them, which fails without a driver."""
    return list({one.device for one in model.parameters() if one.is_cuda})


def bound_to_lengths(model: Any) -> bool:
    """Whether a model trains on rows of certain lengths alone, as Reformer does by its table of positions."""

    def find() -> bool:
        model.train()
        try:
            with torch.random.fork_rng(_cards(model)):  # dropout takes random numbers, which the training is to get
                _lasts(model)
        except (ValueError, AssertionError) as error:
            return "length" in str(error)
        return False

    return remembered(model, "bound", find)


def beside(model: Any) -> Callable[[int], int]:
    """Rows padded behind may be read together where this is the same of their lengths: each then gets what it gets alone."""

    def find() -> bool:
        rows, behind = samples(model), Habits("", padded=True)
        wanted = [alone(model, row) for row in rows]
        return not all(map(_tells, wanted)) or holds(partial(_tried, model, behind, rows, wanted))

    if not remembered(model, "trailing", find):
        return lambda length: length
    at = turn(model)
    return lambda length: bool(at) and length > at


def same(model: Any, found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether two sets of logits differ by no more than rounding does."""
    wide = wanted.dtype == next(model.parameters()).dtype == torch.float32
    wide = wide and not torch.is_autocast_enabled(wanted.device.type)
    far = (found.float() - wanted.float()).square().mean().sqrt()
    return bool(far <= (CLOSE if wide else CLOSE_IN_16_BITS) * wanted.float().std())


def _tells(logits: torch.Tensor) -> bool:
    """Whether logits differ among words, by more than rounding."""
    return bool(logits.isfinite().all()) and bool(logits.float().std() > 1e-3 * logits.float().abs().max())


def holds(trial: Callable[[], bool]) -> bool:
    """Whether a trial succeeds; a model that breaks down at it does not."""
    try:
        return trial()
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception:  # architectures raise whatever their arithmetic does
        return False


def _tried(model: Any, way: Habits, rows: Sequence[list[int]], wanted: Sequence[torch.Tensor]) -> bool:
    """Two prompts are read, twice each, and read on; one copy of each is let go of in between."""
    picked = [0, 1] if way.padded else [0, 2]
    pad = getattr(plain(model).config.get_text_config(), "pad_token_id", None) or 0
    reading = read(model, way, [rows[row][:-MORE] for row in picked], pad, copies=2)
    twice = [row for row in picked for _ in range(2)]
    if not same(model, reading.logits, torch.stack([wanted[row][0] for row in twice])):
        return False
    for step in range(-MORE, 0):
        reading.next(torch.tensor([rows[row][step] for row in twice], device=reading.logits.device))
        if step == -MORE and reading.keep([3, 0]):
            twice = [twice[3], twice[0]]
    return same(model, reading.logits, torch.stack([wanted[row][1] for row in twice]))
