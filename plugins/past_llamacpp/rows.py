"""Where the elements of a tensor, counted in HF order, lie in a GGUF file."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from pastcli.errors import MismatchError

from . import names
from .gguffile import Header, Tensor, type_layout


class Rows:
    """How one tensor's HF elements lie in the file: rows of `width` values, q and k in their own order.

    `shape` is that of the HF tensor; one expert of several begins at the byte `begin` of the GGUF tensor; `shift` is what the
    file's values are greater by; a `transposed` tensor has no rows in common with HF's and is read and written whole.
    """

    def __init__(self, header: Header, hf_name: str, tensor: Tensor):
        self.tensor = tensor
        self.order = names.row_order(header, hf_name)
        self.shift = names.shift_of(header, hf_name)
        expert = names.expert_of(hf_name)
        stored = tensor.shape if expert is None else tensor.shape[1:]
        self.transposed = names.is_transposed(header, hf_name, stored)
        self.shape = stored[::-1] if self.transposed else stored
        flat = self.order is not None and len(stored) == 1  # a bias of q or k: its elements are the rows
        self.width = 1 if flat else self.shape[-1]
        self.total = self.shape[0] if flat else math.prod(self.shape[:-1])
        self.block, self.block_bytes = type_layout(tensor.type, tensor.name)
        if self.order and (self.total % self.order.unit or self.width % self.block):
            raise MismatchError(f"{header.path}: the rows of {tensor.name} do not divide into those of its heads")
        self.size = self.nbytes(self.total * self.width)
        self.begin = (expert or 0) * self.size
        if self.begin + self.size > tensor.nbytes:
            raise MismatchError(f"{header.path}: the tensor {tensor.name} holds no expert {expert}")

    def nbytes(self, values: int) -> int:
        return values // self.block * self.block_bytes

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """[start, stop) cut so that a piece is within one row or made of whole rows."""
        while start < stop:
            into = start % self.width
            row_end, last_row = start - into + self.width, stop - stop % self.width
            end = min(row_end, stop) if into else max(last_row, min(row_end, stop))
            yield start, end
            start = end

    def scattered(self, start: int, stop: int) -> np.ndarray | None:
        """File rows of these whole HF rows; None if the elements lie in the file as they are."""
        if self.order is None:
            return None
        return self.order.places(np.arange(start // self.width, -(-stop // self.width)), self.total)
