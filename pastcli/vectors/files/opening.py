"""Any model on disk as one checkpoint: a format plugin opens it; a LoRA adapter is laid over its base."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ... import registry
from ...api import Adapter, Checkpoint, DirectoryOf, Identity, TensorSpec
from ...errors import MismatchError, PastError


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


def open_model(path: Path) -> Checkpoint:
    """Open a whole model. An adapter becomes base + scale * B @ A."""
    opened = format_of(path).open(Path(path))
    if not isinstance(opened, Adapter):
        return opened
    where = base_path(opened)
    if where is None:
        opened.close()
        raise MismatchError(
            f"{path} is an adapter whose base model {opened.base!r} is not on this disk",
            "put it there, or merge the adapter",
        )
    return Overlay(open_model(where), opened)


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
    """The directory of the base an adapter names, if it exists (relative paths: from here, then from the adapter)."""
    if not adapter.base:
        return None
    for candidate in (Path(adapter.base), adapter.path / adapter.base):
        if candidate.exists():
            return candidate.resolve()
    return None


class Overlay:
    """A base with an adapter added, computed block by block in float32."""

    format = "overlay"

    def __init__(self, base: Checkpoint, adapter: Adapter):
        self.base, self.adapter, self.path = base, adapter, adapter.path
        self.changed = frozenset(adapter.specs())
        specs = base.specs()
        for name, change in adapter.specs().items():
            if name not in specs or specs[name].shape != change.shape:
                found = f"shape {list(specs[name].shape)}" if name in specs else "no such tensor"
                raise MismatchError(f"{adapter.path} changes {name} {list(change.shape)}, but {base.path} has {found}")

    def specs(self) -> Mapping[str, TensorSpec]:
        return self.base.specs()

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        block = self.base.read(name, start, stop)
        if name in self.changed:
            block += self.adapter.read(name, start, stop)
        return block

    def identity(self) -> Identity:
        return self.base.identity()

    def close(self) -> None:
        self.base.close()
        self.adapter.close()
