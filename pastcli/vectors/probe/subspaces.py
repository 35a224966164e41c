"""Do two changes of a matrix act in the same directions? Products and principal angles against chance (METHOD 4).

HF stores W as (out, in), so the A and B of METHOD 4 (u = xA, w = xB) are dW^T, and A B^T = dS^T dR, an (in, in)
matrix. Of two independent Gaussian changes ||A B^T||_F / (||A||_F ||B||_F) is 1 / sqrt(out) on average. Of two
random k-dimensional subspaces of R^m the squared cosines of the principal angles have mean k / m, and for large
m the largest is 4 (k/m) (1 - k/m) (Wachter 1980).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...api import TensorSpec
from ..deltas.delta import Delta, whole
from ..numbers.arithmetic import seeded
from ..numbers.lowrank import svd

PROBES = 32
"""Random vectors that estimate a product's norm (Hutchinson): ||M||_F^2 = E ||M z||^2."""


@dataclass(frozen=True)
class Overlap:
    """How the top-k subspaces of two changes of one matrix lie to each other.

    `product` is ||A B^T||_F / (||A||_F ||B||_F); `left` and `right` the mean squared cosines of the principal
    angles of the leading singular subspaces on the output and input side, `largest_left`, `largest_right` the
    largest cosine; each with its value by chance.
    """

    rank: int
    product: float
    product_chance: float
    left: float
    left_chance: float
    right: float
    right_chance: float
    largest_left: float
    largest_left_chance: float
    largest_right: float
    largest_right_chance: float


def overlaps(
    first: Delta, second: Delta, rank: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[str, Overlap]]:
    """`Overlap` of every matrix that both change. Cost: linear in the weights, about 20 passes of width rank + 10;
    memory: the two changes of one matrix."""
    shared = [spec for name, spec in first.specs().items() if name in second.specs() and len(spec.shape) == 2]
    total, done = sum(spec.numel for spec in shared), 0
    for spec in shared:
        found = overlap(whole(first, spec), whole(second, spec), spec, rank, seed)
        if found is not None:
            yield spec.name, found
        done += spec.numel
        if progress is not None:
            progress(done, total)


def overlap(a: np.ndarray, b: np.ndarray, spec: TensorSpec, rank: int, seed: int) -> Overlap | None:
    """See `Overlap`; `a` and `b` are (out, in) changes. None if one of them is zero."""
    norms = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if not all(norms):
        return None
    out, into = spec.shape
    rank = min(rank, out, into)
    probes = seeded(seed + 1, spec.name).standard_normal((into, PROBES), dtype=np.float32)
    product = float(np.linalg.norm(a.T @ (b @ probes))) / math.sqrt(PROBES)
    ua, _, va = svd(a, rank, seeded(seed, spec.name))
    ub, _, vb = svd(b, rank, seeded(seed, spec.name))
    left, right = (np.linalg.svd(one @ other, compute_uv=False) for one, other in ((ua.T, ub), (va, vb.T)))
    return Overlap(
        rank,
        product / (norms[0] * norms[1]),
        1 / math.sqrt(out),
        float(np.mean(left**2)),
        rank / out,
        float(np.mean(right**2)),
        rank / into,
        float(min(left[0], 1.0)),
        _largest(rank / out),
        float(min(right[0], 1.0)),
        _largest(rank / into),
    )


def _largest(share: float) -> float:
    """The largest principal cosine of two random subspaces that each take this share of the space."""
    return 1.0 if share >= 0.5 else 2 * math.sqrt(share * (1 - share))


def summary(found: dict[str, Overlap]) -> dict[str, Any]:
    """Means over matrices, each beside its mean by chance."""
    if not found:
        return {}
    names = ("product", "left", "right", "largest_left", "largest_right")
    mean = {name: float(np.mean([getattr(one, name) for one in found.values()])) for name in names}
    chance = {name: float(np.mean([getattr(one, f"{name}_chance") for one in found.values()])) for name in names}
    return {name: {"mean": mean[name], "chance": chance[name], "ratio": mean[name] / chance[name]} for name in names}
