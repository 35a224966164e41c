"""What a skill is compared with: another change of the same size that cannot hold the skill (METHOD 4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...api import TensorSpec
from ...errors import UsageError
from ..numbers.arithmetic import seeded
from .delta import Delta
from .rescaled import Rescaled


class Zero:
    """The control that changes nothing."""

    def specs(self) -> Mapping[str, TensorSpec]:
        return {}

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        return np.zeros(stop - start, np.float32)


CHUNK = 1 << 14
"""Numbers that `Noise` draws at once."""


class Noise:
    """Gaussian noise for the given tensors; the same for the same seed."""

    def __init__(self, specs: Mapping[str, TensorSpec], seed: int):
        self._specs, self._seed = specs, seed

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        """Drawn by chunks counted from the tensor's first element, so that it does not depend on where blocks begin."""
        first = start - start % CHUNK
        drawn = [
            seeded(self._seed, name, begin).standard_normal(CHUNK, dtype=np.float32)
            for begin in range(first, stop, CHUNK)
        ]
        return np.concatenate(drawn)[start - first : stop - first]


class LayersMoved:
    """`delta` with its layers in another order, none in its place: each layer gets the change of another one that has the
    same tensors. What is outside the layers (embeddings, head) stays as it is. Raises `UsageError` if no two layers are
    alike."""

    def __init__(self, delta: Delta, seed: int):
        self._delta, self._from = delta, _other_layers(delta.specs(), seed)
        if not self._from:
            raise UsageError("--control layers needs a skill that changes two layers alike", "try --control shuffled")

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._delta.specs()

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        return self._delta.block(self._from.get(name, name), start, stop)


def _other_layers(specs: Mapping[str, TensorSpec], seed: int) -> dict[str, str]:
    """For each tensor that can move, the tensor whose change it gets: layers alike in one random cycle (Sattolo 1986)."""
    layers: dict[tuple[str, str], dict[str, tuple[int, ...]]] = {}
    for name, spec in specs.items():
        found = re.fullmatch(r"(.*\.(?:layers|h|blocks)\.)(\d+)(\..*)", name)
        if found:
            layers.setdefault((found[1], found[2]), {})[found[3]] = spec.shape
    alike: dict[Any, list[tuple[str, str]]] = {}
    for (stem, number), parts in layers.items():
        alike.setdefault((stem, frozenset(parts.items())), []).append((stem, number))
    moves: dict[str, str] = {}
    for (stem, parts), members in alike.items():
        order = [members[i] for i in seeded(seed, f"{stem} {sorted(parts)}").permutation(len(members))]
        for (_, into), (_, source) in zip(order, order[1:] + order[:1], strict=True):
            if into != source:
                moves |= {f"{stem}{into}{suffix}": f"{stem}{source}{suffix}" for suffix, _ in parts}
    return moves


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


CONTROLS = ("none", "random", "shuffled", "layers", "zero")


def control(kind: str, delta: Delta, seed: int) -> Delta:
    """`delta` itself (`none`) or the control of that name which replaces it, of the same norm in every tensor (METHOD 4,
    METHOD 6); another vector becomes one by `Rescaled`."""
    if kind == "random":
        return Rescaled(Noise(delta.specs(), seed), delta)
    if kind == "shuffled":
        return Shuffled(delta, seed)
    if kind == "layers":
        return Rescaled(LayersMoved(delta, seed), delta)
    return Zero() if kind == "zero" else delta
