"""A low-rank skill or a PEFT adapter as LoRA-GGUF: llama.cpp adds it at run time, lambda being its scale."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pastcli.api import Adapter, LowRank
from pastcli.errors import MismatchError
from pastcli.vectors.checks import compatibility
from pastcli.vectors.files.opening import format_of
from pastcli.vectors.files.skill import open_skill

from . import names
from .checkpoint import EMBEDDING
from .gguffile import FLOAT32, STRING
from .gguflayout import pack_metadata, write_layout
from .names import expert_of


def export_lora(source: Path, template: Path, out: Path) -> None:
    """Write `source` (low-rank skill file or PEFT adapter directory) as a LoRA-GGUF for the GGUF `template`.

    Factors are stored as float32. The rows of B follow the template's order for q and k. llama.cpp multiplies by
    alpha / rank with one alpha a file: where scale * rank is the same for every tensor it is stored there and the
    factors stay exact, else each B carries its scale and alpha is 0, which llama.cpp takes as no factor.
    """
    from .checkpoint import GGUFCheckpoint

    base = GGUFCheckpoint(Path(template))
    try:
        with _opened(Path(source), base) as adapter:
            factors = {name: adapter.factors(name) for name in _low_rank(adapter)}
        _write(base, factors, Path(source), Path(out))
    finally:
        base.close()


@contextmanager
def _opened(source: Path, base: Any) -> Iterator[Any]:
    """The adapter, or the skill after it was found to belong to `base`."""
    adapter = format_of(source).open(source) if source.is_dir() else open_skill(source)
    try:
        if hasattr(adapter, "about"):
            compatibility.skill_fits(adapter, base)
        elif not isinstance(adapter, Adapter):
            raise MismatchError(f"{source} is a whole model, not an adapter")
        yield adapter
    finally:
        adapter.close()


def _low_rank(adapter: Any) -> list[str]:
    """Names of what changes; raises `MismatchError` for a change that is not a product of two factors."""
    parts = getattr(adapter, "parts", {})
    for name, part in parts.items():
        if part.form != "low_rank" and part.norm:
            raise MismatchError(
                f"{adapter.path} changes {name} by a {part.form} difference, which no LoRA can express",
                "extract the skill with --rank or --energy, or inject it into the GGUF",
            )
    return [name for name in adapter.specs() if name not in parts or parts[name].form == "low_rank"]


def _write(base: Any, factors: dict[str, LowRank], source: Path, out: Path) -> None:
    ranks = {low.scale * low.a.shape[0] for low in factors.values()}
    alpha = ranks.pop() if len(ranks) == 1 else 0.0
    pieces: dict[str, np.ndarray] = {}
    for name, low in factors.items():
        own = base.names.get(name)
        shape = (low.b.shape[0], low.a.shape[1])
        if own is None or base.specs()[name].shape != shape:
            found = f"shape {base.specs()[name].shape}" if own else "no such tensor"
            raise MismatchError(f"{source} changes {name} {shape}, but {base.path} has {found}")
        if expert_of(name) is not None:
            raise MismatchError(
                f"{source} changes single experts ({name}), for which there is no LoRA-GGUF",
                "inject it into the GGUF instead",
            )
        if own == EMBEDDING and base.tied:
            raise MismatchError(
                f"{source} changes the tied embeddings, for which llama.cpp has no LoRA",
                "inject it into the GGUF instead",
            )
        pieces.update(_pair(base, name, own, low, fold=not alpha))
    metadata = pack_metadata(
        {
            "general.architecture": (STRING, base.header.architecture),
            "general.type": (STRING, "adapter"),
            "general.name": (STRING, source.name),
            "adapter.type": (STRING, "lora"),
            "adapter.lora.alpha": (FLOAT32, alpha),
        }
    )
    temporary = out.with_name(f".{out.name}.writing")
    try:
        with open(temporary, "w+b") as file:
            table = [(name, array.shape, 0) for name, array in pieces.items()]
            for tensor in write_layout(file.fileno(), metadata, 5, table, 32).values():
                file.seek(tensor.offset)
                file.write(pieces[tensor.name].tobytes())
        os.replace(temporary, out)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _pair(base: Any, name: str, own: str, low: LowRank, fold: bool) -> dict[str, np.ndarray]:
    """The two tensors of one change, in llama.cpp's layout."""
    a, b = low.a, low.b * np.float32(low.scale) if fold else low.b
    if base.rows[name].transposed:
        a, b = b.T, a.T
    order = names.row_order(base.header, name)
    if order:
        places = order.places(np.arange(len(b)), len(b))
        reordered = np.empty_like(b)
        reordered[places] = b
        b = reordered
    if own == EMBEDDING:  # looked up by row instead of multiplied: llama.cpp wants (vocabulary, r) and (width, r)
        a, b = b, a.T
    return {f"{own}.lora_a": np.ascontiguousarray(a, np.float32), f"{own}.lora_b": np.ascontiguousarray(b, np.float32)}
