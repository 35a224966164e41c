"""All sums over one tensor's changes that a cosine, its null and its controls are made of, in one pass.

For changes a and b of n entries, with a.b = sum_i a_i b_i:

* the null of sign flips: if the sign of every product a_i b_i is a fair coin, a.b has mean 0 and variance
  sum_i (a_i b_i)^2. It asks nothing of sizes: rows of unlike scale and heavy tails, shared by both, are kept.
* the same with whole rows flipped: variance sum_rows (a_row . b_row)^2. Entries of a row may then depend on each
  other, as they do where both changes are sums of the same inputs (Cameron, Gelbach and Miller 2011: clusters).
* the control of b shuffled: over all n! permutations a.b has mean S_a S_b / n and variance
  (a.a - S_a^2/n) (b.b - S_b^2/n) / (n - 1), S the plain sums (Pitman 1937). Exact, and no entry is left out.
* the control of a random direction: a.s with signs s drawn for every entry, of which s.s = n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .arithmetic import _kernels, widen

_STRIP, _PAD = 1024, 32


@dataclass
class Moments:
    """Sums over `n` entries of k changes: `gram`, `squares` (of products) and `rows` (of row products' sums) are
    (k, k), of which `squares` and `rows` only above the diagonal; `sums` (k,); `signs` of the first change. float64."""

    n: int
    gram: np.ndarray
    squares: np.ndarray
    rows: np.ndarray
    sums: np.ndarray
    signs: float

    @classmethod
    def of(cls, n: int, flat: np.ndarray, changes: int) -> Moments:
        """From 3 k k + k + 1 numbers as the kernel leaves them."""
        gram, squares, rows = flat[: 3 * changes * changes].reshape(3, changes, changes)
        upper = np.triu(gram, 1)
        return cls(n, upper + upper.T + np.diag(np.diag(gram)), squares, rows, flat[-changes - 1 : -1], float(flat[-1]))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.n + other.n,
            self.gram + other.gram,
            self.squares + other.squares,
            self.rows + other.rows,
            self.sums + other.sums,
            self.signs + other.signs,
        )

    def permuted(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (k, k) of the inner products over all permutations of one of the two changes."""
        squared = np.diag(self.gram) - self.sums**2 / self.n
        return np.outer(self.sums, self.sums) / self.n, np.outer(squared, squared) / max(self.n - 1, 1)


def moments(arrays: Sequence[np.ndarray], edges: Sequence[tuple[int, int]], columns: int, seed: int) -> Moments:
    """`Moments` of the k differences arrays[after] - arrays[before], before = -1 for the array itself.

    `arrays` are 1-D and of one length, whole rows of `columns`, float32 or bfloat16 bit patterns (uint16); `seed` (64
    bits) draws the signs. Sums of products are float64; `sums` and `signs` are float32 over 1,024 entries, then float64.
    """
    count, n = len(edges), arrays[0].size
    if _kernels is None or n == 0:
        return _moments(arrays, edges, columns, seed)
    flat = np.empty(3 * count * count + count + 1)
    _kernels.moments(tuple(map(np.ascontiguousarray, arrays)), tuple(edges), columns, seed, flat)
    return Moments.of(n, flat, count)


def _moments(arrays: Sequence[np.ndarray], edges: Sequence[tuple[int, int]], columns: int, seed: int) -> Moments:
    """The same by numpy; the signs fall on other entries where the kernel takes packed bit patterns out of order."""
    n = arrays[0].size
    wide = [widen(array, "BF16") if array.dtype == np.uint16 else array for array in arrays]
    changes = [(wide[i] if j < 0 else wide[i] - wide[j]).astype(np.float64).reshape(-1, columns) for i, j in edges]
    flat = np.array([[np.vdot(a, b) for b in changes] for a in changes])
    squares, rows = np.zeros_like(flat), np.zeros_like(flat)
    for i, a in enumerate(changes):
        for j in range(i + 1, len(changes)):
            products = a * changes[j]
            squares[i, j], rows[i, j] = np.vdot(products, products), np.square(products.sum(axis=1)).sum()
    sums = np.array([change.sum() for change in changes])
    return Moments(n, flat, squares, rows, sums, float(np.vdot(changes[0], _signs(n // columns, columns, seed))))


def _signs(rows: int, columns: int, seed: int) -> np.ndarray:
    """+1 and -1 as the kernel draws them: one draw of splitmix64 for every 32 entries of a tile of a row."""
    starts = range(0, columns, _STRIP)
    per_row = sum(-(-min(_STRIP, columns - start) // _PAD) for start in starts)
    counter = np.arange(1, rows * per_row + 1, dtype=np.uint64)
    x = np.uint64(seed) + counter * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word = ((x ^ (x >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)
    bits = (word[:, None] >> np.arange(_PAD, dtype=np.uint32)) & np.uint32(1)
    return 1.0 - 2.0 * bits.reshape(rows, per_row * _PAD)[:, :columns]
