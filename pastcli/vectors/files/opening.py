"""Any model on disk as one checkpoint: a format plugin opens it; a LoRA adapter is laid over its base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ... import adapters, registry
from ...api import Adapter, Checkpoint, DirectoryOf, Identity, TensorSpec
from ...errors import MismatchError, PastError
from ..numbers.lowrank import product_block
from .recent import Recent


def format_of(path: Path) -> Any:
    """The checkpoint format that accepts `path`; raises `MismatchError` if none does."""
    for plugin in registry.names("checkpoint"):
        with suppress(PastError):  # a plugin that cannot be imported spoils only itself
            candidate = registry.load("checkpoint", plugin.name)
            if candidate.accepts(Path(path)):
                return candidate
    known = ", ".join(plugin.name for plugin in registry.names("checkpoint"))
    raise MismatchError(
        f"{path} is in no checkpoint format that is installed ({known})", "expected a model directory or a GGUF"
    )


def open_model(path: Path, base: Path | None = None) -> Checkpoint:
    """Open a whole model. An adapter becomes base + scale * B @ A; `base` is the base the user names for it, if any."""
    opened = format_of(path).open(Path(path))
    if not isinstance(opened, Adapter):
        return opened
    try:
        return Overlay(open_model(adapters.base_of(opened.path, opened.base, base).path), opened)
    except BaseException:
        opened.close()
        raise


def as_directory(path: Path) -> Path:
    """A model directory for a model in a single file (a GGUF), converted once and kept by the plugin that can."""
    for plugin in registry.names("checkpoint"):
        form = registry.load("checkpoint", plugin.name)
        if isinstance(form, DirectoryOf):
            return form.as_directory(Path(path))
    raise MismatchError(
        f"{path} is a single file, and no installed format makes a directory of it",
        f"write to a name ending in {path.suffix}",
    )


def base_path(adapter: Adapter) -> Path | None:
    """Where the base an adapter names lies; None if it cannot be found (see `adapters.find_base`)."""
    found = adapters.find_base(adapter.path, adapter.base)
    return found.path.resolve() if found else None


def layers(path: Path, base: Path | None = None) -> tuple[Path, list[Adapter]]:
    """A model as (the path of a whole model, the adapters laid over it, the lowest first), all opened."""
    opened = format_of(path).open(Path(path))
    if not isinstance(opened, Adapter):
        opened.close()
        return Path(path), []
    below, adapters_below = layers(adapters.base_of(opened.path, opened.base, base).path)
    return below, [*adapters_below, opened]


TIED = tuple(
    "embed_tokens wte embed_in word_embeddings tok_embeddings embeddings word_embedding input_embedding tokens_embed".split()
)
_PLACES = "wpe embed_positions position_embeddings positions_embed token_type_embeddings segment_embedding"
_MORE = "embed_tokens_per_layer ngram_embeddings ngram_embedding pronunciation_embed shape_embed"
EMBEDDINGS = (*TIED, *_PLACES.split(), *_MORE.split())
CTRL = "transformer.w.weight"
"""The one whose name says nothing."""


def is_embedding(name: str) -> bool:
    """Whether a tensor of this HF name is looked up by token or place instead of multiplied."""
    return _last(name) in EMBEDDINGS or name == CTRL


def may_be_tied(name: str) -> bool:
    """Whether it is the embedding that some models use as their output layer once more."""
    return _last(name) in TIED or name == CTRL


def _last(name: str) -> str:
    return name.removesuffix(".weight").rpartition(".")[2]


def refuse_tied(adapter: Adapter, base: Checkpoint) -> None:
    """Raise `MismatchError` for a LoRA on one side of tied embeddings: what it does depends on who loads it.

    PEFT adds it to the input side only while it runs, and to both sides when it merges (measured with peft 0.21: logits
    off by 0.9 of the effect the one way, doubled with an adapter on the output layer as well the other way).
    """
    tensor = next((name for name in adapter.specs() if may_be_tied(name)), None)
    if tensor is not None and base.identity().tied:
        raise MismatchError(
            f"{adapter.path} changes {tensor}, which {base.path} ties to its output layer: "
            "PEFT changes the input side alone when it runs the adapter, and both sides when it merges it",
            "untie the base (tie_word_embeddings=False) and train on that, or leave the embeddings out",
        )


class Products:
    """The change that adapters make together, as a `Delta`; each pair of factors is read once."""

    def __init__(self, laid: Sequence[Adapter]):
        self.laid = list(laid)
        self._factors = [Recent(adapter.factors) for adapter in self.laid]
        self._specs = {name: spec for adapter in self.laid for name, spec in adapter.specs().items()}

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        parts = [
            product_block(factors(name), start, stop)
            for adapter, factors in zip(self.laid, self._factors)
            if name in adapter.specs()
        ]
        return parts[0] if len(parts) == 1 else np.asarray(parts).sum(axis=0, dtype=np.float32)


class Overlay:
    """A base with an adapter added, computed block by block in float32; the base may be such a model itself.

    `bottom` is the whole model at the bottom, `change` what all adapters above it add.
    """

    format = "overlay"

    def __init__(self, base: Checkpoint, adapter: Adapter):
        self.base, self.adapter, self.path = base, adapter, adapter.path
        below = base.change.laid if isinstance(base, Overlay) else []
        self.bottom: Checkpoint = base.bottom if isinstance(base, Overlay) else base
        self.change: Products = Products([*below, adapter])
        self._specs = specs = base.specs()
        refuse_tied(adapter, base)
        for name, change in adapter.specs().items():
            if name not in specs or specs[name].shape != change.shape:
                found = f"shape {list(specs[name].shape)}" if name in specs else "no such tensor"
                raise MismatchError(f"{adapter.path} changes {name} {list(change.shape)}, but {base.path} has {found}")

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        block = self.bottom.read(name, start, stop)
        if name in self.change.specs():
            block += self.change.block(name, start, self._specs[name].numel if stop is None else stop)
        return block

    def identity(self) -> Identity:
        return self.base.identity()

    def close(self) -> None:
        self.base.close()
        self.adapter.close()
