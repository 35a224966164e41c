"""Whether two models use the same weights alike: a change of weights says nothing of what else differs between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...api import Checkpoint, SaysUsage
from ..files.opening import Overlay

KEY = "usage"
"""Entry of a skill's parent `sft`: what `of` gave for the model that it was taken from."""


def of(model: Checkpoint) -> dict[str, Any]:
    """The settings that a model's configuration states; {} where its format says nothing."""
    inner = model.bottom if isinstance(model, Overlay) else model
    return inner.usage() if isinstance(inner, SaysUsage) else {}


def differing(one: str, ours: Mapping[str, Any], other: str, theirs: Mapping[str, Any]) -> list[str]:
    """What to tell of two models (or of a skill's and its target) that state different settings; [] if none differs."""
    found = [
        f"{key} {_short(theirs[key])} instead of {_short(value)}"
        for key, value in ours.items()
        if key in theirs and not _same(theirs[key], value)
    ]
    if not found:
        return []
    return [
        f"{other} computes otherwise than {one} from the same weights, by its configuration: {', '.join(found[:4])}; "
        "a skill holds weights alone"
    ]


def _same(one: Any, other: Any) -> bool:
    """Numbers that were written in 32 bits on the way, as a GGUF does, are the same."""
    numbers = all(isinstance(value, (int, float)) for value in (one, other))
    return math.isclose(one, other, rel_tol=1e-6) if numbers else bool(one == other)


def _short(value: Any) -> str:
    return str(value)[:60]
