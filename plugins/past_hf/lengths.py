"""Lengths that a configuration sets, beyond which a model reads otherwise: windows, chunks, how many keys an index picks, and
where LongRoPE turns from one set of frequencies to the other.

Rows of some tokens, as models are tried with (see `habits`), would never reach them, and a trial at their real size would cost
as much as thousands of tokens do. So a model is tried with these lengths cut down, which changes nothing of how it reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .compute import plain

_NAMED = re.compile(
    r"(^|_)(window|window_size|window_len|attention_chunk_size|index_topk|index_topk_blocks|budget|floor_scale)$"
)
"""Of transformers 5.23: the windows of Mistral, Gemma, gpt-oss and their like, Llama 4's chunks and scale, DeepSeek's index, Qwen4's
budget, the keys that Doge keeps. Chunks by which a scan is merely worked out (Mamba) are none."""


@dataclass(frozen=True)
class _Place:
    """Where a length is written down."""

    holder: Any
    name: str
    value: int

    def put(self, value: int) -> None:
        setattr(self.holder, self.name, value)


def named(model: Any, least: int) -> dict[str, list[_Place]]:
    """The lengths above `least` by name, with all their places: configurations, and layers that keep what those said."""
    known = plain(model)
    holders = [known.config, known.config.get_text_config()]
    for module in known.modules():
        holders += [module, vars(module).get("config")]
    found: dict[str, list[_Place]] = {}
    for holder in {id(one): one for one in holders if one is not None}.values():
        for name, value in vars(holder).items():
            if type(value) is int and value > least and _NAMED.search(name):
                found.setdefault(name, []).append(_Place(holder, name, value))
    return found


@contextmanager
def shortened(model: Any, to: int, answers: Callable[[], bool]) -> Iterator[None]:
    """Within the block the model's lengths are `to`, but for those with which it no longer `answers`: weights may hang on one."""
    changed: list[_Place] = []
    try:
        for places in named(model, to).values():
            changed += places
            for place in places:
                place.put(to)
            if not answers():
                for place in places:
                    place.put(place.value)
        yield
    finally:
        for place in changed:
            place.put(place.value)


def turn(model: Any) -> int:
    """The most tokens of a row that LongRoPE turns by its shorter factors; 0 of a model without.

    The longest row of a pass decides for all that are in it, and keys that are kept stay as they were turned. (Phi-3, 2404.14219.)
    """
    config = plain(model).config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    sets = [one for one in (rope, *rope.values()) if isinstance(one, dict) and one.get("rope_type") == "longrope"]
    return min((one.get("original_max_position_embeddings") or 0 for one in sets), default=0)
