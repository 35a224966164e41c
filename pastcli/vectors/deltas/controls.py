"""What a skill is compared with: another change of the same size that cannot hold the skill (METHOD 4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...api import TensorSpec
from ..numbers.arithmetic import seeded, squared_norm
from .delta import Delta, blocks


class Zero:
    """The control that changes nothing."""

    def specs(self) -> Mapping[str, TensorSpec]:
        return {}

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        return np.zeros(stop - start, np.float32)


CHUNK = 1 << 14
"""Numbers that `Random` draws at once."""


class Random:
    """Gaussian noise with, tensor by tensor, the Frobenius norm of `delta`; the same for the same seed."""

    def __init__(self, delta: Delta, seed: int):
        self._delta, self._seed = delta, seed
        self._factor: dict[str, float] = {}

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._delta.specs()

    def _noise(self, name: str, start: int, stop: int) -> np.ndarray:
        """Drawn by chunks counted from the tensor's first element, so that it does not depend on where blocks begin."""
        first = start - start % CHUNK
        drawn = [
            seeded(self._seed, name, begin).standard_normal(CHUNK, dtype=np.float32)
            for begin in range(first, stop, CHUNK)
        ]
        return np.concatenate(drawn)[start - first : stop - first]

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        if name not in self._factor:  # two threads may compute it at once; both get the same number
            cuts = blocks(self.specs()[name])
            wanted = sum(squared_norm(self._delta.block(name, *piece)) for piece in cuts)
            drawn = sum(squared_norm(self._noise(name, *piece)) for piece in cuts)
            self._factor[name] = float(np.sqrt(wanted / drawn)) if drawn else 0.0
        return self._noise(name, start, stop) * np.float32(self._factor[name])


class Shuffled:
    """`delta` with its entries moved about inside each tensor: rows in random order, and each row permuted.

    Keeps the set of values, hence norm and distribution, and the set of row norms; destroys which weight
    changes with which. (A free permutation of all entries would need the whole tensor in memory.)
    """

    def __init__(self, delta: Delta, seed: int):
        self._delta, self._seed = delta, seed
        self._order: dict[str, np.ndarray] = {}

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._delta.specs()

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        spec = self.specs()[name]
        columns = spec.columns
        if name not in self._order:
            self._order[name] = seeded(self._seed, name).permutation(spec.numel // columns)
        order = self._order[name]
        first, last = start // columns, -(-stop // columns)
        result = np.empty((last - first, columns), np.float32)
        for index, row in enumerate(order[first:last]):
            values = self._delta.block(name, int(row) * columns, int(row + 1) * columns)
            result[index] = seeded(self._seed + 1, name, int(row)).permutation(values)
        return result.reshape(-1)[start - first * columns : stop - first * columns]


def control(kind: str, delta: Delta, seed: int) -> Delta:
    """`delta` itself (`none`) or the control that replaces it (METHOD 4)."""
    if kind == "random":
        return Random(delta, seed)
    if kind == "shuffled":
        return Shuffled(delta, seed)
    return Zero() if kind == "zero" else delta
