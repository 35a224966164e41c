"""Two checkpoints as one change: subtracted block by block, or exactly, where both sides are LoRA factors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np

from ...api import Adapter, Checkpoint, LowRank, StoredBits, StoredFloats, TensorSpec
from ...errors import MismatchError
from ..checks import compatibility, finite
from ..files.opening import base_path, format_of, open_model, refuse_tied
from ..files.stream import Span, run, spans
from ..numbers.arithmetic import KINDS, Stored, compiled
from ..numbers.lowrank import concatenated

Progress = Callable[[int, int], None]


class Difference:
    """theta_rl - theta_sft as a `Delta`: both sides read block by block, subtracted in float32."""

    exact: Literal[False] = False

    def __init__(self, sft: Checkpoint, rl: Checkpoint):
        compatibility.same_layout(sft, rl)
        self.sft, self.rl, self.layout = sft, rl, sft

    def specs(self) -> Mapping[str, TensorSpec]:
        return self.sft.specs()

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        block = self.rl.read(name, start, stop)
        block -= self.sft.read(name, start, stop)
        return block

    def stored(self, span: Span) -> tuple[Stored, Stored] | None:
        """RL and SFT as they are stored, of which `arithmetic.subtract_to_file` makes what `block` gives; None where it cannot."""
        sft, rl, name = self.sft, self.rl, span.spec.name
        types = rl.specs()[name].dtype, sft.specs()[name].dtype
        if (
            not isinstance(sft, StoredFloats)
            or not isinstance(rl, StoredFloats)
            or not compiled()
            or not KINDS.keys() >= {*types}
        ):
            return None
        after, before = (model.stored_floats(name, span.start, span.stop) for model in (rl, sft))
        return (types[0], after), (types[1], before)

    def changed(self, progress: Progress | None = None) -> dict[str, TensorSpec]:
        """The tensors in which any two values differ. A tensor that changed is read up to there, another one whole."""
        found: set[str] = set()

        def compare(span: Span) -> None:
            name = span.spec.name
            for start, stop in span.blocks():
                if name in found:
                    return
                if self._differs(name, start, stop):
                    found.add(name)

        for _ in run(spans(self.specs().values()), compare, progress):
            pass
        return {name: spec for name, spec in self.specs().items() if name in found}

    def refuse_not_finite(self) -> None:
        """Raise `MismatchError`, naming model and tensor, for a weight that is no number."""
        for model in (self.sft, self.rl):
            finite.model(model.path)

    def _differs(self, name: str, start: int, stop: int) -> bool:
        """By bit patterns first, which nothing need be copied for. -0 is 0; what is not finite never equals."""
        if isinstance(self.sft, StoredBits) and isinstance(self.rl, StoredBits):
            one, other = self.sft.bits(name, start, stop), self.rl.bits(name, start, stop)
            if one.dtype == other.dtype:
                kind, exponent = (np.uint16, 0x7F80) if one.dtype == np.uint16 else (np.uint32, 0x7F800000)
                one, other = one.view(kind), other.view(kind)
                if np.array_equal(one, other):
                    return bool((one & kind(exponent) == exponent).any())
        return bool(self.block(name, start, stop).any())

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *error: object) -> None:
        self.sft.close()
        self.rl.close()


class AdapterDifference:
    """B_rl A_rl - B_sft A_sft as a `Delta` that knows its factors: nothing is multiplied out, nothing rounded."""

    exact: Literal[True] = True

    def __init__(self, layout: Checkpoint, rl: Adapter, sft: Adapter | None):
        self.layout = layout
        self._adapters: list[tuple[Adapter, float]] = [(rl, 1.0)] + ([(sft, -1.0)] if sft else [])
        whole = layout.specs()
        self._specs: dict[str, TensorSpec] = {}
        for adapter, _ in self._adapters:
            refuse_tied(adapter, layout)
            for name, change in adapter.specs().items():
                if name not in whole or whole[name].shape != change.shape:
                    found = f"has shape {list(whole[name].shape)}" if name in whole else "does not exist"
                    raise MismatchError(
                        f"{adapter.path} changes {name} {list(change.shape)}, which {found} in {layout.path}"
                    )
                self._specs[name] = whole[name]

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def factors(self, name: str) -> LowRank:
        return concatenated(
            [(adapter.factors(name), sign) for adapter, sign in self._adapters if name in adapter.specs()]
        )

    def refuse_not_finite(self) -> None:
        """The same of the factors, which refuse it when they are read: the layout's own weights stand in no change."""
        for name in self._specs:
            self.factors(name)

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        total = np.zeros(stop - start, np.float32)
        for adapter, sign in self._adapters:
            if name in adapter.specs():
                total += np.float32(sign) * adapter.read(name, start, stop)
        return total

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *error: object) -> None:
        self.layout.close()
        for adapter, _ in self._adapters:
            adapter.close()


Pair = Difference | AdapterDifference
"""What two checkpoints make; `exact` tells which."""


def difference(sft: Path, rl: Path, unproven: list[str] | None = None) -> Pair:
    """The two checkpoints as one delta, in factors if both sides allow it.

    An adapter whose base is not on this disk cannot be shown to change `sft`, and B @ A of another model would be a
    skill of neither: `MismatchError`, unless `unproven` is a list. It is then told what was taken on trust.
    """
    after = format_of(rl).open(rl)
    if not isinstance(after, Adapter):
        return _subtracted(sft, after)
    base, before = base_path(after), format_of(sft).open(sft)
    if base is not None and base == sft.resolve():
        before.close()
        return AdapterDifference(open_model(sft), after, None)
    if isinstance(before, Adapter):
        if base is not None and base == base_path(before):
            return AdapterDifference(open_model(base), after, before)
    elif base is None:
        named = f"its base as {after.base!r}, which is not on this disk" if after.base else "no base"
        sentence = f"{rl} names {named}: that it was trained on {sft} is not proven"
        if unproven is not None:
            unproven.append(sentence)
            return AdapterDifference(before, after, None)
        after.close()
        before.close()
        raise MismatchError(
            sentence, "put the base where adapter_config.json says; `past extract --assume-parent` takes it on trust"
        )
    before.close()
    after.close()
    return _subtracted(sft, open_model(rl))


def _subtracted(sft: Path, rl: Checkpoint) -> Difference:
    """The model at `sft` taken from one that is open, which is closed if they do not fit together."""
    with ExitStack() as stack:
        stack.callback(rl.close)
        before = open_model(sft)
        stack.callback(before.close)
        made = Difference(before, rl)
        stack.pop_all()
        return made
