"""Changes brought to another change's size: what a control, or a trimmed skill, needs to be comparable."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...api import TensorSpec
from ..numbers.arithmetic import squared_norm
from .compression import magnitude_for
from .delta import Delta, blocks


def norm(delta: Delta, spec: TensorSpec) -> float:
    """Frobenius norm of one tensor of a change."""
    return float(np.sqrt(sum(squared_norm(delta.block(spec.name, *piece)) for piece in blocks(spec))))


class Rescaled:
    """`delta` with, tensor by tensor, the Frobenius norm of `reference`; tensors that only one of them changes are left out."""

    def __init__(self, delta: Delta, reference: Delta):
        self._delta, self._reference = delta, reference
        self._specs = {name: spec for name, spec in reference.specs().items() if name in delta.specs()}
        self._factor: dict[str, float] = {}

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        if name not in self._factor:  # two threads may compute it at once; both get the same number
            own = norm(self._delta, self._specs[name])
            self._factor[name] = norm(self._reference, self._specs[name]) / own if own else 0.0
        return self._delta.block(name, start, stop) * np.float32(self._factor[name])


class Trimmed:
    """The `density` largest entries of every tensor of `delta`, all others zero; `rescale` gives each tensor its norm back,
    as DoTS does (2605.00610): fewer entries then meet those of another change with the other sign, and the size of the
    change stays. Entries that tie with the smallest kept one are kept."""

    def __init__(self, delta: Delta, density: float, rescale: bool):
        self._delta, self._density, self._rescale = delta, density, rescale
        self._limits: dict[str, tuple[float, float]] = {}

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._delta.specs()

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        if name not in self._limits:
            self._limits[name] = self._limit(self.specs()[name])
        limit, factor = self._limits[name]
        block = self._delta.block(name, start, stop)
        return np.where(np.abs(block) >= limit, block * np.float32(factor), np.float32(0.0))

    def _limit(self, spec: TensorSpec) -> tuple[float, float]:
        """The smallest magnitude kept, and what kept entries are multiplied by."""
        limit = magnitude_for(self._delta, spec, self._density)
        if not self._rescale:
            return limit, 1.0
        total = kept = 0.0
        for piece in blocks(spec):
            block = self._delta.block(spec.name, *piece)
            total, kept = total + squared_norm(block), kept + squared_norm(block[np.abs(block) >= limit])
        return limit, float(np.sqrt(total / kept)) if kept else 1.0
