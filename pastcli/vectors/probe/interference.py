"""The interference of two changes on real inputs, layer by layer (METHOD 4).

With u = dS x (what SFT adds to a layer's output) and w = dR x (what RL adds), the paper bounds <u, w> under inputs
of covariance sigma^2 I, where it is governed by Tr(A B^T). Real inputs are not isotropic: this measures
Tr(A B^T Sigma) = E<u, w> on the inputs that the layers of the model really get.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..deltas.delta import Delta, whole


@dataclass(frozen=True)
class Interference:
    """One layer: `trace` = E<u, w> = Tr(A B^T Sigma) over `inputs` inputs; `pooled` the same over
    sqrt(E|u|^2 E|w|^2), a cosine; `weights` the cosine of the two weight changes, which would equal `pooled` if inputs
    were isotropic; `typical` and `p95` the median and 95th percentile of |cos(u, w)| of single inputs."""

    inputs: int
    trace: float
    pooled: float
    weights: float
    typical: float
    p95: float


class Meter:
    """Takes the inputs of each layer in turn; holds the two changes of one matrix at a time."""

    def __init__(self, first: Delta, second: Delta):
        self._first, self._second = first, second
        self.found: dict[str, Interference] = {}

    def visit(self, name: str, inputs: np.ndarray) -> None:
        """`inputs` (n, in) of the layer whose weight is tensor `name` (out, in). Passes over what only one touches."""
        spec = self._first.specs().get(name)
        if spec is None or name not in self._second.specs() or name in self.found:
            return
        a, b = whole(self._first, spec), whole(self._second, spec)
        u, w = (inputs @ change.T for change in (a, b))
        uw, uu, ww = (np.einsum("ij,ij->i", x, y, dtype=np.float64) for x, y in ((u, w), (u, u), (w, w)))
        norm = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
        if norm == 0.0 or not uu.any() or not ww.any():
            return
        cosines = np.abs(uw) / np.sqrt(np.maximum(uu * ww, 1e-300))
        self.found[name] = Interference(
            len(inputs),
            float(uw.mean()),
            float(uw.mean() / np.sqrt(uu.mean() * ww.mean())),
            float(np.vdot(a, b)) / norm,
            float(np.median(cosines)),
            float(np.percentile(cosines, 95)),
        )


def summary(found: Mapping[str, Interference]) -> dict[str, Any]:
    """Over all layers: the mean pooled cosine, its mean size, and the largest."""
    if not found:
        return {}
    pooled = np.array([one.pooled for one in found.values()])
    worst = max(found, key=lambda name: abs(found[name].pooled))
    return {
        "layers": len(found),
        "inputs": next(iter(found.values())).inputs,
        "mean": float(pooled.mean()),
        "mean_size": float(np.abs(pooled).mean()),
        "typical_single_input": float(np.mean([one.typical for one in found.values()])),
        "largest": float(found[worst].pooled),
        "largest_at": worst,
    }
