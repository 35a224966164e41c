"""Do two changes of a matrix act in the same directions? Products and principal angles against sign flips (METHOD 4).

HF stores W as (out, in), so the A and B of METHOD 4 (u = xA, w = xB) are dW^T, and A B^T = dS^T dR, an (in, in)
matrix. Everything is compared with the same measure after the rows of one side (of dR, or of a basis of its singular
directions) got random signs: that keeps how much each output or input is changed, which two changes may share without
having to do with each other, and destroys the rest. For bases without preferred rows the mean of the squared cosines
is then max(p, q) / m for p and q directions of R^m, as for random subspaces. The two decompositions start from
random numbers of their own; directions below the numerical rank, or below the rounding of the stored weights, are not
compared: they are noise, in part the same noise (the rounding of the SFT model stands in both changes).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...api import Checkpoint, TensorSpec
from ..deltas.delta import Delta
from ..files.stream import Span, run
from ..numbers.arithmetic import SIGNIFICAND_BITS, seeded
from ..numbers.svd import svd
from .matrices import Matrix

PROBES = 64
"""Random vectors that estimate a product's norm (Hutchinson): ||M||_F^2 = E ||M z||^2."""

DRAWS = 32
"""Sign flips drawn for the null of each pair of subspaces."""


@dataclass(frozen=True)
class Overlap:
    """How the leading subspaces of two changes of one matrix lie to each other.

    `ranks` directions of each were found (at most those asked for). `product` is ||A B^T||_F / (||A||_F ||B||_F);
    `left` and `right` the mean squared cosines of the principal angles of the leading singular subspaces on the output
    and input side, `largest_left`, `largest_right` the largest cosine; each with its mean under sign flips, and the
    standard deviation of that.
    """

    ranks: tuple[int, int]
    product: float
    product_chance: float
    left: float
    left_chance: float
    left_deviation: float
    right: float
    right_chance: float
    right_deviation: float
    largest_left: float
    largest_left_chance: float
    largest_right: float
    largest_right_chance: float


def overlaps(
    first: Delta, second: Delta, rank: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[str, Overlap]]:
    """`Overlap` of every matrix that both change, several at a time. Memory: the singular vectors."""
    shared = [spec for name, spec in first.specs().items() if name in second.specs() and len(spec.shape) == 2]

    def work(span: Span) -> Overlap | None:
        spec = span.spec
        floors = [_rounding(delta, spec) for delta in (first, second)]
        return overlap(change_of(first, spec), change_of(second, spec), spec.name, rank, seed, floors)

    for span, found in run([Span(spec, 0, spec.numel) for spec in shared], work, progress):
        if found is not None:
            yield span.spec.name, found


def change_of(delta: Delta, spec: TensorSpec) -> Matrix:
    """The change of one matrix."""
    return Matrix(lambda start, stop: delta.block(spec.name, start, stop), spec.shape)


def _stored(model: Checkpoint, spec: TensorSpec) -> Matrix:
    """One matrix of a model."""
    return Matrix(lambda start, stop: model.read(spec.name, start, stop), spec.shape)


def _rounding(delta: Any, spec: TensorSpec) -> float:
    """About the largest singular value of what rounding the two stored checkpoints leaves in their difference: of noise of
    deviation s it is s (sqrt(m) + sqrt(n)), and a step of the grid is at most 2^(1 - bits) |w|. 0 for exact changes."""
    if delta.exact:
        return 0.0
    noise = 0.0
    for model in (delta.sft, delta.rl):
        bits = SIGNIFICAND_BITS.get(model.specs()[spec.name].dtype, SIGNIFICAND_BITS["F32"])
        squares = _stored(model, spec).row_squares()
        noise += squares.sum() / spec.numel * 4.0 ** (1 - bits) / 12
    return math.sqrt(noise) * (math.sqrt(spec.shape[0]) + math.sqrt(spec.shape[1]))


def overlap(
    a: Matrix, b: Matrix, name: str, rank: int, seed: int, floors: tuple[float, float] | list[float] = (0.0, 0.0)
) -> Overlap | None:
    """See `Overlap`; `a` and `b` are (out, in) changes. Singular values up to `floors` do not count. None if one of the
    changes has no direction that does."""
    squares = a.row_squares(), b.row_squares()
    norms = math.sqrt(squares[0].sum()), math.sqrt(squares[1].sum())
    if not all(norms):
        return None
    probes = seeded(seed + 2, name).standard_normal((a.shape[1], PROBES), dtype=np.float32)
    product = float(np.linalg.norm(a.T @ (b @ probes))) / math.sqrt(PROBES)
    found = []
    for number, (matrix, floor) in enumerate(zip((a, b), floors, strict=True)):
        u, s, vt = svd(matrix, rank, seeded(seed + number, name))
        kept = int(np.count_nonzero(s > floor))
        found.append((u[:, :kept], vt[:kept].T))
    (ua, va), (ub, vb) = found
    if not ua.shape[1] or not ub.shape[1]:
        return None
    rng = seeded(seed + 3, name)
    left, right = against_flips(ua, ub, rng), against_flips(va, vb, rng)
    return Overlap(
        (ua.shape[1], ub.shape[1]),
        product / (norms[0] * norms[1]),
        math.sqrt(float(squares[0] @ squares[1])) / (norms[0] * norms[1]),
        left.mean,
        left.chance,
        left.deviation,
        right.mean,
        right.chance,
        right.deviation,
        left.largest,
        left.largest_chance,
        right.largest,
        right.largest_chance,
    )


@dataclass(frozen=True)
class Angles:
    """Mean squared and largest cosine of the principal angles, with mean (and deviation) under sign flips."""

    mean: float
    chance: float
    deviation: float
    largest: float
    largest_chance: float


def against_flips(one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> Angles:
    """Principal angles of two orthonormal bases (m, p) and (m, q); the null flips the signs of the rows of one."""
    cosines = principal_cosines(one, other)
    drawn = []
    for _ in range(DRAWS):
        signs = rng.choice((-1.0, 1.0), len(one))
        drawn.append(principal_cosines(one * signs[:, None], other))
    squares = [float(np.mean(flipped**2)) for flipped in drawn]
    exact = float((np.square(one).sum(axis=1) * np.square(other).sum(axis=1)).sum()) / len(cosines)
    largest = float(np.mean([flipped[0] for flipped in drawn]))
    return Angles(float(np.mean(cosines**2)), exact, float(np.std(squares, ddof=1)), float(cosines[0]), largest)


def principal_cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosines of the principal angles between the column spaces of two orthonormal bases (Bjorck and Golub 1973)."""
    return np.minimum(np.linalg.svd(one.T @ other, compute_uv=False), 1.0)


def summary(found: dict[str, Overlap]) -> dict[str, Any]:
    """Means over matrices, each beside its mean by chance."""
    if not found:
        return {}
    names = ("product", "left", "right", "largest_left", "largest_right")
    mean = {name: float(np.mean([getattr(one, name) for one in found.values()])) for name in names}
    chance = {name: float(np.mean([getattr(one, f"{name}_chance") for one in found.values()])) for name in names}
    return {name: {"mean": mean[name], "chance": chance[name], "ratio": mean[name] / chance[name]} for name in names}
