"""Where a result goes: the format asked for, and a writer for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import registry
from ...api import Checkpoint, CheckpointWriter, SingleFileFormat, TensorSpec
from ...errors import UsageError
from ..numbers.arithmetic import SIGNIFICAND_BITS
from .opening import Overlay, format_of

Finer = Callable[[Mapping[str, TensorSpec], Any, str], dict[str, str]]
"""finer(layout, form, dtype): the tensors of `layout` that `form` shall not store as `dtype`, each with its type."""


@dataclass(frozen=True)
class Storage:
    """How weights are stored; see `api.CheckpointFormat.writer`."""

    dtype: str = "auto"
    rounding: str = "nearest"
    seed: int = 0


def writer_for(model: Checkpoint, out: Path, storage: Storage, template: Path | None, finer: Finer) -> CheckpointWriter:
    """A writer for `out`: the format of the model, or the one that the suffix of `out` names."""
    inner = model.bottom if isinstance(model, Overlay) else model
    settings: dict[str, Any] = vars(storage).copy()
    form = form_of_suffix(out)
    if form is None:
        return format_of(inner.path).writer(inner, out, **settings)
    if inner.format == form.name:
        settings["types"] = finer(inner.specs(), form, storage.dtype)
        return form.writer(inner, out, **settings)
    if template is None:
        raise UsageError(
            f"no GGUF of the base model of {model.path} is known, to take tokenizer and metadata from",
            "name one with --template",
        )
    with closing(form.open(template)) as layout:
        if storage.dtype == "auto":
            largest = max(model.specs().values(), key=lambda spec: spec.numel)
            settings["dtype"] = "auto" if largest.dtype not in SIGNIFICAND_BITS else largest.dtype.lower()
        settings["types"] = finer(layout.specs(), form, settings["dtype"])
    return form.writer(model, out, layout=template, **settings)


def form_of_suffix(out: Path) -> SingleFileFormat | None:
    """The single-file format that the suffix of `out` names; None if `out` is to be a directory."""
    name = out.suffix[1:]
    if not any(plugin.name == name for plugin in registry.names("checkpoint")):
        return None
    form = registry.load("checkpoint", name)
    return form if isinstance(form, SingleFileFormat) else None
