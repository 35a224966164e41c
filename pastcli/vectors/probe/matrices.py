"""A matrix of a checkpoint, or a change of one, as something that multiplies: large ones are read block by block each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce

import numpy as np

from ...errors import MismatchError
from ..files.stream import cut
from ..numbers.svd import Operator

ROWS = 1 << 20
"""Elements read at once."""

KEPT = 1 << 22
"""Elements up to which a matrix is kept in memory once read (16 MiB): reading it again takes longer than multiplying."""

Read = Callable[[int, int], np.ndarray]
"""Elements [start, stop) as 1-D float32."""


class Matrix:
    """(rows, columns) float32 behind a `Read`. Products with (., width) arrays cost one pass over the stored matrix."""

    def __init__(self, read: Read, shape: tuple[int, ...]):
        rows, columns = shape
        self.read, self.shape = read, (rows, columns)
        self._kept: np.ndarray | None = None

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows, and what they hold; raises `MismatchError` if that is not finite."""
        columns = self.shape[1]
        if self._kept is not None:
            yield slice(0, self.shape[0]), self._kept
            return
        if self.shape[0] * columns <= KEPT:
            self._kept = self._checked(0, self.shape[0] * columns)
            yield from self.blocks()
            return
        for start, stop in cut(0, self.shape[0] * columns, columns, max(ROWS, columns)):
            yield slice(start // columns, stop // columns), self._checked(start, stop)

    def _checked(self, start: int, stop: int) -> np.ndarray:
        block = self.read(start, stop).reshape(-1, self.shape[1])
        if not np.isfinite(block).all():
            raise MismatchError("a matrix holds NaN or infinity")
        return block

    def __matmul__(self, right: np.ndarray) -> np.ndarray:
        out = np.empty((self.shape[0], right.shape[1]), np.float32)
        for rows, block in self.blocks():
            np.matmul(block, right, out=out[rows])
        return out

    @property
    def T(self) -> Transposed:
        return Transposed(self)

    def row_squares(self) -> np.ndarray:
        """Squared norm of every row, float64."""
        return np.concatenate([np.einsum("ij,ij->i", block, block, dtype=np.float64) for _, block in self.blocks()])


class Transposed:
    """`Matrix.T`."""

    def __init__(self, matrix: Matrix):
        self._matrix, self.shape = matrix, matrix.shape[::-1]

    def __matmul__(self, right: np.ndarray) -> np.ndarray:
        out = np.zeros((self.shape[0], right.shape[1]), np.float32)
        for rows, block in self._matrix.blocks():
            out += block.T @ right[rows]
        return out

    @property
    def T(self) -> Matrix:
        return self._matrix


class Sum:
    """Several operators of one shape, added."""

    def __init__(self, *terms: Operator):
        self.terms, self.shape = terms, terms[0].shape

    def __matmul__(self, right: np.ndarray) -> np.ndarray:
        return reduce(np.add, (term @ right for term in self.terms))

    @property
    def T(self) -> Sum:
        return Sum(*(term.T for term in self.terms))


class Turned:
    """P D Q of a matrix D: rows and columns in random order and with random signs. It has the singular values of D and every
    row norm, and nothing of where D lay relative to anything else: the null for what depends on that."""

    def __init__(self, matrix: Matrix, rng: np.random.Generator):
        self.shape = matrix.shape
        self._matrix: Matrix | Transposed = matrix
        self._rows, self._columns = (_signed_order(size, rng) for size in matrix.shape)

    def __matmul__(self, right: np.ndarray) -> np.ndarray:
        (rows, row_signs), (columns, column_signs) = self._rows, self._columns
        spread = np.empty_like(right)
        spread[columns] = right * column_signs[:, None]
        return (self._matrix @ spread)[rows] * row_signs[:, None]

    @property
    def T(self) -> Turned:
        other = object.__new__(Turned)
        other.shape, other._matrix = self.shape[::-1], self._matrix.T
        other._rows, other._columns = self._columns, self._rows
        return other


def _signed_order(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.permutation(size), rng.choice(np.array([-1, 1], np.float32), size)
