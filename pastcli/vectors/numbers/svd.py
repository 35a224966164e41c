"""Leading singular triplets of a matrix that need not be in memory, to a tolerance that is checked.

Block Krylov iteration (Golub, Luk and Overton 1981; Musco and Musco 2015, 1504.05477) with full reorthogonalisation
and restarts: it stops when the triplets satisfy A^T A v = s^2 v, not after a fixed number of products, because how
many it takes depends on how close singular values lie. Two calls that are to be compared must not share their random
start: what is left of it in both would count as agreement.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

OVERSAMPLE = 10
"""Vectors iterated beyond those asked for."""

DEPTH, CYCLES, ROOM = 8, 30, 1 << 26
"""Blocks of a Krylov space before a restart, fewer (but two) where they would take more than ROOM bytes; and restarts at most."""

NUMERICAL_RANK = 1e-6
"""Singular values below this share of the first are the rounding of float32 and no directions of the matrix."""

SMALL = 256
"""Smaller dimension up to which the decomposition is taken whole."""


class Operator(Protocol):
    """A numpy array, or anything else that multiplies: `shape`, `@` and `.T @` with float32 (., width) arrays."""

    shape: tuple[int, int]

    def __matmul__(self, right: np.ndarray) -> np.ndarray: ...

    @property
    def T(self) -> Operator: ...


Triplets = tuple[np.ndarray, np.ndarray, np.ndarray]


def svd(
    matrix: Operator, rank: int, rng: np.random.Generator, tolerance: float = 1e-3, start: np.ndarray | None = None
) -> Triplets:
    """U (rows, r), s (r,) descending and Vt (r, columns), float64, of the r <= `rank` leading triplets.

    r is smaller where the numerical rank is. `tolerance` bounds |A v - s u| / s_1 of every triplet; float32 products
    end at about 1e-6. `start` (rows, any) is used in place of a random start: the U of a matrix close to this one.
    """
    smaller = min(matrix.shape)
    width = min(rank + OVERSAMPLE, smaller)
    if smaller <= SMALL or 2 * width > smaller:
        u, s, vt = _whole(matrix)
    else:
        if start is None:
            start = _product(matrix, rng.standard_normal((matrix.shape[1], width)))
        u, s, vt = _krylov(matrix, start[:, :width], rank, tolerance)
    kept = min(rank, int(np.count_nonzero(s > NUMERICAL_RANK * s[0]))) if s.size and s[0] > 0 else 0
    return u[:, :kept], s[:kept], vt[:kept]


def _product(matrix: Operator, block: np.ndarray) -> np.ndarray:
    return (matrix @ block.astype(np.float32)).astype(np.float64)


def _whole(matrix: Operator) -> Triplets:
    """All triplets, by the product with the identity of the smaller side."""
    rows, columns = matrix.shape
    if rows >= columns:
        return np.linalg.svd(_product(matrix, np.eye(columns)), full_matrices=False)
    u, s, vt = np.linalg.svd(_product(matrix.T, np.eye(rows)), full_matrices=False)
    return vt.T, s, u.T


def _krylov(matrix: Operator, start: np.ndarray, rank: int, tolerance: float) -> Triplets:
    for _ in range(CYCLES):
        u, s, vt, residual = _cycle(matrix, start, rank)
        if s[0] == 0.0 or residual <= tolerance * s[0]:
            break
        start = u[:, : start.shape[1]]
    return u, s, vt


def _cycle(matrix: Operator, start: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Ritz triplets in the space of start, A A^T start, ..., and the largest residual of the first `rank`."""
    left, right, images = [np.linalg.qr(start)[0]], [], []
    width = start.shape[1]
    depth = max(2, min(DEPTH, ROOM // (8 * width * (2 * matrix.shape[0] + matrix.shape[1]))))
    while True:
        right.append(_product(matrix.T, left[-1]))
        images.append(_product(matrix, right[-1]))
        if len(left) == depth or (len(left) + 1) * width > min(matrix.shape):
            break
        left.append(_orthogonal(images[-1], left))
    basis, mapped, image = (np.concatenate(blocks, axis=1) for blocks in (left, right, images))
    q, r = np.linalg.qr(mapped)  # X^T A = r^T q^T
    a, s, bt = np.linalg.svd(r.T)
    u, leading = basis @ a, slice(0, rank)
    missed = image @ a[:, leading] - u[:, leading] * s[leading] ** 2
    residual = float(np.max(np.linalg.norm(missed, axis=0) / np.maximum(s[leading], NUMERICAL_RANK * s[0] + 1e-300)))
    return u, s, bt @ q.T, residual


def _orthogonal(block: np.ndarray, against: list[np.ndarray]) -> np.ndarray:
    """An orthonormal basis of what `block` adds to the span of `against`; twice is enough (Kahan; Parlett 1998)."""
    for _ in range(2):
        for other in against:
            block = block - other @ (other.T @ block)
        block = np.linalg.qr(block)[0]
    return block
