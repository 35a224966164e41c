"""How a training on processors attends: with all scores at once where rows are short, in tiles where they are long.

Plain ("eager") attention keeps a score for each pair of tokens and head, twice, for the backward pass: of rows of 900 tokens more than
all else in a layer together. In tiles (torch's own, FlashAttention's way: 2205.14135) nothing of that is kept.
"""

from __future__ import annotations

from typing import Any

from .compute import plain

WIDE = 256
"""Tokens from which rows are attended in tiles. Processor time of a forward and backward pass of SmolLM2-135M beside eager attention, one
thread of a Xeon with AMX, bfloat16: 1.54 at 50 tokens a row, 0.98 at 220 and at 450, 0.77 at 900."""


def can_tile(model: Any) -> bool:
    """Whether a model computes the same in tiles. Scores that are capped (Gemma 2) are not known to torch's, which would leave
    that out without a word."""
    known = plain(model)
    capped = getattr(known.config.get_text_config(), "attn_logit_softcapping", None)
    return bool(getattr(known, "_supports_sdpa", False)) and capped is None


def attend(model: Any, width: int) -> None:
    """Let a model read rows of `width` tokens in the way that takes less; one that was loaded for another way is left as it is."""
    known = plain(model)
    wanted = "sdpa" if width >= WIDE else "eager"
    if known.config._attn_implementation in ({"eager", "sdpa"} - {wanted}) and can_tile(known):
        known.set_attn_implementation(wanted)
