"""Algebra of low-rank changes: joining, norms, recompression, and truncation of dense ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...api import LowRank


def concatenated(terms: Sequence[tuple[LowRank, float]]) -> LowRank:
    """sum_i lambda_i * scale_i * B_i A_i as one pair of rank sum(r_i): [B_1 .. B_n] and [c_1 A_1; ..; c_n A_n].

    A single term keeps its matrices untouched, the factor going into `scale`.
    """
    if len(terms) == 1:
        factors, weight = terms[0]
        return LowRank(factors.b, factors.a, factors.scale * weight)
    b = np.concatenate([factors.b for factors, _ in terms], axis=1)
    a = np.concatenate([factors.a * np.float32(factors.scale * weight) for factors, weight in terms], axis=0)
    return LowRank(b, a)


def product_block(factors: LowRank, start: int, stop: int) -> np.ndarray:
    """Elements [start, stop) of scale * B A in C order, 1-D float32: only the rows they lie in are multiplied out."""
    columns = factors.a.shape[1]
    first, last = start // columns, -(-stop // columns)
    product = ((factors.b[first:last] * np.float32(factors.scale)) @ factors.a).reshape(-1)
    return product[start - first * columns : stop - first * columns]


def product_norm(factors: LowRank) -> float:
    """|scale * B A|_F without the product: sqrt(tr((B^T B)(A A^T))), in float64."""
    b, a = factors.b.astype(np.float64), factors.a.astype(np.float64)
    return abs(factors.scale) * float(np.sqrt(max(np.sum((b.T @ b) * (a @ a.T)), 0.0)))


def svd_of_product(factors: LowRank) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U (rows, r), s (r,), Vt (r, columns) of scale * B A, by QR of both factors and an r x r SVD, in float64."""
    left, r_left = np.linalg.qr(factors.b.astype(np.float64))
    right, r_right = np.linalg.qr(factors.a.astype(np.float64).T)
    u, s, vt = np.linalg.svd(factors.scale * (r_left @ r_right.T))
    return left @ u, s, vt @ right.T


def rank_for_energy(singular: np.ndarray, total: float, energy: float) -> int:
    """The smallest rank whose singular values hold the share `energy` of the squared norm `total`."""
    held = np.cumsum(singular.astype(np.float64) ** 2)
    return min(int(np.searchsorted(held, energy * total * (1 - 1e-12))) + 1, len(singular))


def as_factors(u: np.ndarray, s: np.ndarray, vt: np.ndarray) -> LowRank:
    """Factors with the singular values shared evenly: B = U sqrt(s), A = sqrt(s) Vt."""
    root = np.sqrt(s)
    return LowRank((u * root).astype(np.float32), (root[:, None] * vt).astype(np.float32))
