"""A skill for a model whose embeddings have more or fewer rows: the rows both have change, the others do not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...api import TensorSpec
from .delta import Delta


class CommonRows:
    """`delta` under the shapes of a target. Rows follow one another, so the common ones are the first elements of both."""

    def __init__(self, delta: Delta, target: Mapping[str, TensorSpec]):
        self._delta = delta
        self._specs = {name: TensorSpec(name, target[name].shape, "F32") for name in delta.specs()}
        self._sizes = {name: spec.numel for name, spec in delta.specs().items()}

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        end = min(stop, self._sizes[name])
        if end == stop:
            return self._delta.block(name, start, stop)
        block = np.zeros(stop - start, np.float32)
        if start < end:
            block[: end - start] = self._delta.block(name, start, end)
        return block


def fitted(delta: Delta, target: Mapping[str, TensorSpec]) -> Delta:
    """`delta` itself where all shapes agree."""
    alike = all(spec.shape == target[name].shape for name, spec in delta.specs().items())
    return delta if alike else CommonRows(delta, target)
