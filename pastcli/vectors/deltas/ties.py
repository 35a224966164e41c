"""TIES merging of several skills: trim, elect sign, disjoint mean (Yadav et al. 2023, 2306.01708, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock

import numpy as np

from ...api import TensorSpec
from .compression import magnitude_for
from .delta import Delta


class Ties:
    """The merged vector tau_m. Each vector keeps its `density` largest entries of every tensor; each entry takes the
    sign with the larger total magnitude, and becomes the mean of the kept values of that sign."""

    def __init__(self, deltas: Sequence[Delta], density: float):
        self._deltas, self._density = deltas, density
        self._specs = {name: spec for delta in deltas for name, spec in delta.specs().items()}
        self._limits: dict[str, list[float]] = {}
        self._locks = {name: Lock() for name in self._specs}

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        holders = [delta for delta in self._deltas if name in delta.specs()]
        with self._locks[name]:
            if name not in self._limits:
                self._limits[name] = [magnitude_for(delta, self._specs[name], self._density) for delta in holders]
        values = np.stack([delta.block(name, start, stop) for delta in holders])
        values[np.abs(values) < np.array(self._limits[name], np.float32)[:, None]] = 0.0
        sign = np.sign(values.sum(axis=0))
        agree = (np.sign(values) == sign) & (values != 0.0)
        count = np.maximum(agree.sum(axis=0), 1).astype(np.float32)
        return np.where(agree, values, np.float32(0.0)).sum(axis=0) / count
