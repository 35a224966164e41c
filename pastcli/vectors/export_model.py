"""A model in another form: a directory, a GGUF, another stored type; nothing added, every cast measured."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..api import TensorSpec
from .checks.survival import OWN, Survival
from .deltas.application import Change, Progress, add, is_cast, own_change, unmeasured
from .files.destination import Storage, form_of_suffix
from .files.opening import as_directory, open_model


@dataclass(frozen=True)
class Exported:
    """`own`: what the cast left of what the model's training had changed, where there was a cast and the base is known."""

    path: Path
    tensors: int
    cast: bool
    own: Survival | None
    warnings: list[str]


class Nothing:
    """The change of no tensor."""

    def specs(self) -> Mapping[str, TensorSpec]:
        return {}

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        raise KeyError(name)


def export_model(
    source: Path,
    out: Path,
    *,
    dtype: str = "auto",
    template: Path | None = None,
    base: Path | None = None,
    min_survival: float = 0.0,
    progress: Progress | None = None,
) -> Exported:
    """Write the model at `source` (a directory, an adapter, a GGUF) to the new path `out`, a directory or a *.gguf.

    An adapter is merged into its base. `template` is a GGUF of the same base, for tokenizer and metadata of a GGUF;
    `base` the model that `source` was trained from, to measure what a cast leaves of the training. Raises
    `GateError` if that is less than `min_survival`; nothing is left at `out` then, as after any error.
    """
    if source.is_file() and form_of_suffix(out) is None:
        source = as_directory(source)
    with ExitStack() as stack:
        model = stack.enter_context(closing(open_model(source, base)))
        cast = is_cast(model, dtype)
        own = own_change(model, base, source, cast, stack)
        storage = Storage(dtype=dtype)
        change = Change(Nothing(), own)
        found = add(model, change, out, storage, min_survival=min_survival, template=template, progress=progress)
        kept = found.get(OWN)
        warnings = [text for what, one in found.items() for text in one.warnings(what)] + unmeasured(cast, own)
        return Exported(out, len(model.specs()), cast, kept, warnings)
