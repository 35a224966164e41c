"""theta + change, written out: block by block, rounded once, and what became of every change that was cast (METHOD 5)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...api import AddingWriter, Checkpoint, CheckpointWriter, TensorSpec
from ...errors import GateError, MismatchError, UsageError
from ..checks import finite
from ..checks.survival import OWN, SKILL, WAY_OUT, Survival, lossy_tensors, sums_by_tensor, survivals
from ..files.destination import Storage, form_of_suffix, writer_for
from ..files.opening import Overlay
from ..files.stream import SPAN, Span
from ..numbers.arithmetic import Sums, overflow
from .delta import Delta, lies_in_file
from .difference import difference

Progress = Callable[[int, int], None]

AT_ONCE = 1 << 18
"""Elements of a change that are made in one call: they are still in the second-level cache when they are added. What lies in
a file already is added a span at a time."""


@dataclass(frozen=True)
class Change:
    """What is added to a model: `delta`; and `own`, what the model's own training had changed, as far as it is in the
    weights that `delta` is added to and is rounded with it."""

    delta: Delta
    own: Delta | None = None

    def named(self, name: str) -> dict[str, Delta]:
        """The changes that touch a tensor, by what they are called."""
        both = {SKILL: self.delta, OWN: self.own}
        return {what: delta for what, delta in both.items() if delta is not None and name in delta.specs()}


def own_change(model: Checkpoint, base: Path | None, target: Path, cast: bool, stack: ExitStack) -> Delta | None:
    """What the target's own training changed, as far as storing the result rounds it: an adapter that is merged on the
    way; of whole models, when they are cast, their difference from `base`."""
    if isinstance(model, Overlay):
        return model.change
    if not cast or base is None:
        return None
    return stack.enter_context(difference(base, target))


def is_cast(model: Checkpoint, dtype: str) -> bool:
    """Whether weights are stored in another type than the target's, and one that may lose some of them."""
    return dtype not in ("auto", "f32") and any(spec.dtype != dtype.upper() for spec in model.specs().values())


def unmeasured(cast: bool, own: Delta | None) -> list[str]:
    """What a user must be told where the own change is cast, and not known."""
    if not cast or own is not None:
        return []
    return ["how much of the target's own training survives in the stored type is not known: name its base with --base"]


def add(
    model: Checkpoint,
    change: Change,
    out: Path,
    storage: Storage,
    *,
    finer: str = "",
    min_survival: float = 0.0,
    template: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Survival]:
    """Write `model` + `change.delta` to the new path `out`; the survival of each change, by what it is called.

    Tensors that do not change are copied. `finer` is a type for the tensors whose own would lose the skill. Raises
    `GateError` when less than `min_survival` of a change is left; nothing is left at `out` then, as after any error.
    """
    if out.exists():
        raise UsageError(f"{out} already exists", "choose another name, or remove it first")
    if finer and form_of_suffix(out) is None:
        raise UsageError("--raise-types is for quantised files (.gguf)", "use --dtype for a model directory")

    def raised(layout: Mapping[str, TensorSpec], form: Any, dtype: str) -> dict[str, str]:
        """The matrices whose stored type would lose the skill."""
        if not finer:
            return {}
        matrices = [name for name, spec in change.delta.specs().items() if len(spec.shape) > 1]
        kinds = {name: layout[name].dtype if dtype == "auto" else dtype for name in matrices}
        return dict.fromkeys(lossy_tensors(model, change.delta, kinds, form, progress), finer)

    writer = None
    try:
        writer = writer_for(model, out, storage, template, raised)
        found = survivals(sums_by_tensor(model, _Adding(model, change, writer), progress))
        for what, kept in found.items():
            if 0 < min_survival > kept.cosine:  # 0 is no gate, although what rounding leaves may point backwards
                raise GateError(
                    f"only {kept.cosine:.4f} of {what} survives in the stored type (asked: {min_survival})", WAY_OUT
                )
        writer.finish()
    except BaseException:
        if writer is not None:
            writer.close()
        _discard(out)
        raise
    writer.close()
    return found


class _Adding:
    """The work on one span: read, add, write, and the sums that say what became of each change."""

    def __init__(self, model: Checkpoint, change: Change, writer: CheckpointWriter):
        self._model, self._change, self._writer = model, change, writer
        self._adder = writer if isinstance(writer, AddingWriter) else None

    def __call__(self, span: Span) -> Mapping[str, Sums]:
        name = span.spec.name
        changes = self._change.named(name)
        if not changes:
            if span.start == 0:
                self._writer.copy(name)
            return {}
        found = self._directly(changes, span) or self._blockwise(changes, span)
        if not all(sums.finite for sums in found.values()):
            raise self._not_finite(changes, span)
        return found

    def _directly(self, changes: Mapping[str, Delta], span: Span) -> dict[str, Sums] | None:
        """Through the stored bytes, where the writer can and there is nothing but the skill to look at."""
        if changes.keys() != {SKILL} or self._adder is None:
            return None
        name, total = span.spec.name, Sums()
        limit = SPAN if lies_in_file(changes[SKILL], name) else AT_ONCE
        for start, stop in span.blocks(limit):
            sums = Sums.of(self._adder.add(name, start, changes[SKILL].block(name, start, stop)))
            if sums is None:
                return None
            total += sums
        return {SKILL: total}

    def _blockwise(self, changes: Mapping[str, Delta], span: Span) -> dict[str, Sums]:
        name, found = span.spec.name, {what: Sums() for what in changes}
        for start, stop in span.blocks():
            theta = self._model.read(name, start, stop)
            blocks = {what: delta.block(name, start, stop) for what, delta in changes.items()}
            total = theta + blocks[SKILL] if SKILL in blocks else theta
            stored = self._writer.write(name, start, total)
            if SKILL in blocks:
                found[SKILL].add(blocks[SKILL], stored, theta)
            if OWN in blocks:  # the own change is part of theta already: all but it is what it is compared with
                found[OWN].add(blocks[OWN], stored, total - blocks[OWN])
        return found

    def _not_finite(self, changes: Mapping[str, Delta], span: Span) -> MismatchError:
        """Say which input was broken, or that the sum overflowed its type."""
        name = span.spec.name
        for start, stop in span.blocks():
            if not np.isfinite(self._model.read(name, start, stop)).all():
                return finite.broken(self._model.path, name)
            for what, delta in changes.items():
                if not np.isfinite(delta.block(name, start, stop)).all():
                    return finite.broken_change(what, name)
        return overflow(name)


def _discard(out: Path) -> None:
    if out.is_dir():
        shutil.rmtree(out, ignore_errors=True)
    else:
        out.unlink(missing_ok=True)
