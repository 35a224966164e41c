"""Where the rows of an HF matrix lie in a GGUF whose converter reorders them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class RowOrder(Protocol):
    """An order of the rows of one kind of matrix; their number is a multiple of `unit`."""

    @property
    def unit(self) -> int: ...

    def places(self, rows: np.ndarray, total: int) -> np.ndarray:
        """Rows of the file for these rows of the HF matrix, which has `total` of them."""


@dataclass(frozen=True)
class Interleaved:
    """q or k of the llama family.

    HF keeps a head's rows as two halves, rotated together pairwise (i, i + d/2); GGUF has them interleaved, so row
    `half * d/2 + i` of a head goes to `2 i + half` (`permute` in llama.cpp's convert_hf_to_gguf.py).
    """

    heads: int

    @property
    def unit(self) -> int:
        return 2 * self.heads

    def places(self, rows: np.ndarray, total: int) -> np.ndarray:
        size = total // self.heads
        head, inside = np.divmod(rows, size)
        half, index = np.divmod(inside, size // 2)
        return head * size + 2 * index + half


@dataclass(frozen=True)
class Apart:
    """q, k and v in one matrix: in HF each key-value head has its queries, its key and its value together (GPT-NeoX, Bloom,
    Falcon); in a GGUF all queries come first, then all keys, then all values."""

    heads: int
    groups: int

    @property
    def unit(self) -> int:
        return self.heads + 2 * self.groups

    def places(self, rows: np.ndarray, total: int) -> np.ndarray:
        size, queries = total // self.unit, self.heads // self.groups
        head, inside = np.divmod(rows, size)
        group, part = np.divmod(head, queries + 2)
        place = np.where(part < queries, group * queries + part, self.heads + (part - queries) * self.groups + group)
        return place * size + inside
