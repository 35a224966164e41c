"""How long asking models takes, and how much memory, before anything was measured: for the plans of dry runs alone.

The rates are those of a model of 135 million weights on two cores without a GPU; a larger one is assumed to be slower in
proportion to its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import registry
from ..files import size_of

READ_TOKENS = 20
"""Tokens of a closed-book question, about."""

SPEAKING = 40.0
"""Tokens a second of one answer after the other, as an agent gives them."""

FIXED_SECONDS = 20.0
"""What any command takes beside its work: imports, reading and writing a model."""

READING_BYTES = 5e8
"""Bytes of weights a second that a pass over models reads and computes with."""


def asking(models: Sequence[Path | str], answers: int, longest: int, backend: str) -> dict[str, Any]:
    """`answers` to each model, in batches, none longer than `longest` tokens; nothing of models behind a server."""
    if not _local(backend):
        return {"answers": answers * len(models)}
    from ..environment import has_card
    from ..study.times import assumed

    card = has_card() and backend != "llamacpp"
    bytes_of = {path: loaded(Path(path), backend) for path in dict.fromkeys(models)}
    work = answers * (READ_TOKENS + longest)
    seconds = sum(FIXED_SECONDS + work / assumed(bytes_of[path], card)["answers"] for path in models)
    return {
        "answers": answers * len(models),
        "seconds_about": round(seconds),
        "memory_bytes_about": max(bytes_of.values(), default=0),
    }


def speaking(model: Path | str, tokens: int, backend: str) -> dict[str, Any]:
    """An agent that says at most so many tokens, one after the other."""
    if not _local(backend):
        return {"tokens_at_most": tokens}
    from ..study.store import RATED_BYTES

    size = loaded(Path(model), backend)
    seconds = FIXED_SECONDS + tokens / SPEAKING * max(1.0, size / RATED_BYTES)
    return {"tokens_at_most": tokens, "seconds_at_most_about": round(seconds), "memory_bytes_about": size}


def loaded(path: Path, backend: str) -> int:
    """Bytes of a model's weights in memory: as they lie on disk, but a GGUF of four or five bits read by another backend
    than llama.cpp grows about sixfold."""
    return size_of(path) * (6 if path.suffix == ".gguf" and backend != "llamacpp" else 1)


def _local(backend: str) -> bool:
    return getattr(registry.load("chat", backend), "local", True)
