"""What is added to a model: anything that gives the change of a tensor block by block.

A skill file is one (`Skill.block`); a scaled sum of skills is another; controls, projection and merging wrap
one and are again one. So `inject` needs to know none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ..api import TensorSpec
from ..errors import MismatchError
from .arithmetic import seeded, squared_norm
from .stream import BLOCK, cut


class Delta(Protocol):
    """The change of some tensors of a model."""

    def specs(self) -> Mapping[str, TensorSpec]:
        """The tensors that change, by name."""

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        """Elements [start, stop) of the change: 1-D float32, perhaps read-only. Cut as for `Checkpoint.read`; thread-safe."""


def blocks(spec: TensorSpec) -> list[tuple[int, int]]:
    """Every block of one tensor."""
    return list(cut(0, spec.numel, spec.columns, BLOCK))


def whole(delta: Delta, spec: TensorSpec) -> np.ndarray:
    """One change in its full shape, in memory; raises `MismatchError` if it holds NaN or infinity."""
    flat = np.empty(spec.numel, np.float32)
    for start, stop in blocks(spec):
        flat[start:stop] = delta.block(spec.name, start, stop)
        if not np.isfinite(flat[start:stop]).all():
            raise MismatchError(f"the change of tensor {spec.name} holds NaN or infinity")
    return flat.reshape(spec.shape)


class Sum:
    """sum_i lambda_i * v_i in float32, left to right, each lambda by tensor name; a lambda of 1 multiplies nothing."""

    def __init__(self, terms: Sequence[tuple[Delta, Mapping[str, float]]]):
        self.terms = terms
        self._specs = {
            name: spec for delta, factors in terms for name, spec in delta.specs().items() if factors[name] != 0.0
        }

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        total = None
        for delta, factors in self.terms:
            if factors[name] == 0.0 or name not in delta.specs():
                continue
            part = delta.block(name, start, stop)
            if factors[name] != 1.0:
                part = np.multiply(part, np.float32(factors[name]), out=part if part.flags.writeable else None)
            total = part if total is None else np.add(total, part, out=total if total.flags.writeable else None)
        return np.zeros(stop - start, np.float32) if total is None else total


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


CONTROLS = ("none", "random", "shuffled", "zero")


def control(kind: str, delta: Delta, seed: int) -> Delta:
    """`delta` itself (`none`) or the control that replaces it (METHOD 4)."""
    if kind == "random":
        return Random(delta, seed)
    if kind == "shuffled":
        return Shuffled(delta, seed)
    return Zero() if kind == "zero" else delta
