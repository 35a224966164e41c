"""Where LongRoPE turns from one set of frequencies to the other, which llama.cpp decides by the size of a context."""

from __future__ import annotations

from pathlib import Path

from .gguffile import read_header


def turn(path: Path) -> int:
    """The most tokens of a row that the model in a GGUF turns by its shorter factors; 0 of a model without. (Phi-3, 2404.14219.)"""
    header = read_header(path)
    if "rope_factors_long.weight" not in header.tensors:
        return 0
    return int(header.parameter("rope.scaling.original_context_length", 0))
