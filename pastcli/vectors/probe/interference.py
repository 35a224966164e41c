"""The interference of two changes on real inputs, layer by layer (METHOD 4).

With u = dS x (what SFT adds to a layer's output) and w = dR x (what RL adds), the paper bounds <u, w> for zero-mean
inputs of covariance sigma^2 I, where it is governed by Tr(A B^T). Real inputs are neither isotropic nor centred: their
mean is a direction that every change of a layer answers to, and would alone make two unrelated changes look alike or
opposed. So this measures Tr(A B^T Sigma) = E<u - Eu, w - Ew> with Sigma the covariance, on the inputs that the layers
really get. The null: each output of the layer gets a random sign in w, so that the trace, a sum of one covariance an
output, has mean 0 and variance sum of their squares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..deltas.delta import Delta
from .subspaces import change_of

DRAWS = 16
"""Sign flips drawn for the size of single inputs' cosines by chance."""


@dataclass(frozen=True)
class Interference:
    """One layer: `trace` = Tr(A B^T Sigma) over `inputs` inputs; `pooled` the same over sqrt(E|u|^2 E|w|^2) of the centred
    outputs, a cosine, with `chance` its standard deviation and `z` its distance from 0 under sign flips of the outputs;
    `mean_part` the cosine of Eu and Ew, what centring takes out; `weights` the cosine of the two weight changes, which
    `pooled` would equal if inputs were isotropic; `typical` and `p95` the median and 95th percentile of |cos(u, w)| of
    single inputs, `typical_chance` the median of what sign flips give."""

    inputs: int
    trace: float
    pooled: float
    chance: float
    z: float
    mean_part: float
    weights: float
    typical: float
    typical_chance: float
    p95: float


class Meter:
    """Takes the inputs of each layer in turn; holds the outputs of one."""

    def __init__(self, first: Delta, second: Delta):
        self._first, self._second = first, second
        self.found: dict[str, Interference] = {}

    def visit(self, name: str, inputs: np.ndarray, transposed: bool) -> None:
        """`inputs` (n, in) of the layer whose weight is tensor `name`, (out, in) or, `transposed`, (in, out). Passes over
        what only one touches."""
        spec = self._first.specs().get(name)
        if spec is None or name not in self._second.specs() or name in self.found or len(inputs) < 2:
            return
        columns = np.ascontiguousarray(inputs.T, np.float32)
        changes = [change_of(delta, spec) for delta in (self._first, self._second)]
        u, w = (((change.T if transposed else change) @ columns).astype(np.float64) for change in changes)
        norms = [math.sqrt(change.row_squares().sum()) for change in changes]
        if all(norms) and u.any() and w.any():
            inner = sum(float(np.vdot(a, b)) for (_, a), (_, b) in zip(*(c.blocks() for c in changes), strict=True))
            self.found[name] = interference(u, w, inner / (norms[0] * norms[1]))


def interference(u: np.ndarray, w: np.ndarray, weights: float) -> Interference:
    """From the outputs (out, n) that two changes add on n inputs; `weights` is the cosine of the changes."""
    means = u.mean(axis=1), w.mean(axis=1)
    u, w = u - means[0][:, None], w - means[1][:, None]
    products = u * w
    covariances = products.mean(axis=1)
    scale = max(math.sqrt(float(np.vdot(u, u)) * float(np.vdot(w, w))) / u.shape[1], 1e-300)
    deviation = max(float(np.linalg.norm(covariances)), 1e-300)
    sizes = np.maximum(np.linalg.norm(u, axis=0) * np.linalg.norm(w, axis=0), 1e-300)
    cosines = np.abs(products.sum(axis=0)) / sizes
    flips = np.random.default_rng(0).choice((-1.0, 1.0), (DRAWS, len(u)))
    trace = float(covariances.sum())
    mean_size = float(np.linalg.norm(means[0]) * np.linalg.norm(means[1]))
    return Interference(
        u.shape[1],
        trace,
        trace / scale,
        deviation / scale,
        trace / deviation,
        float(means[0] @ means[1]) / mean_size if mean_size else 0.0,
        weights,
        float(np.median(cosines)),
        float(np.median(np.abs(flips @ products) / sizes)),
        float(np.percentile(cosines, 95)),
    )


def summary(found: Mapping[str, Interference]) -> dict[str, Any]:
    """Over all layers: the mean pooled cosine and its deviation by chance, its mean size beside that of chance, and the
    largest."""
    if not found:
        return {}
    layers = list(found.values())
    pooled, chance = (np.array([getattr(one, key) for one in layers]) for key in ("pooled", "chance"))
    worst = max(found, key=lambda name: abs(found[name].pooled))
    return {
        "layers": len(found),
        "inputs": layers[0].inputs,
        "mean": float(pooled.mean()),
        "chance": float(np.linalg.norm(chance)) / len(chance),
        "z": float(pooled.sum() / np.linalg.norm(chance)),
        "mean_size": float(np.abs(pooled).mean()),
        "mean_size_chance": math.sqrt(2 / math.pi) * float(chance.mean()),
        "mean_part": float(np.mean([one.mean_part for one in layers])),
        "typical_single_input": float(np.mean([one.typical for one in layers])),
        "typical_single_input_chance": float(np.mean([one.typical_chance for one in layers])),
        "largest": float(found[worst].pooled),
        "largest_at": worst,
    }
