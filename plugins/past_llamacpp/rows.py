"""Where the elements of a tensor, counted in HF order, lie in a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pastcli.errors import MismatchError

from . import names
from .gguffile import Header, Tensor, type_layout


class Rows:
    """How one tensor's HF elements lie in the file: rows of `width` values, q and k in their own order."""

    def __init__(self, header: Header, hf_name: str, tensor: Tensor):
        self.tensor = tensor
        self.heads = names.rotary_heads(header, hf_name)
        flat = bool(self.heads) and len(tensor.shape) == 1  # a q or k bias: its elements are the rows
        self.width = 1 if flat else tensor.shape[-1]
        self.total = tensor.shape[0] if flat else tensor.rows
        self.block, self.block_bytes = type_layout(tensor.type, tensor.name)
        if self.heads and (self.total % (2 * self.heads) or self.width % self.block):
            raise MismatchError(f"{header.path}: the tensor {tensor.name} does not divide into {self.heads} heads")

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
        if not self.heads:
            return None
        return names.gguf_rows(np.arange(start // self.width, -(-stop // self.width)), self.total, self.heads)
