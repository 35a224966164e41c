"""The skill file: one safetensors that holds a skill vector, tensor by tensor, and says where it belongs.

Each changed tensor of the model, under its HF name, in one of three forms (all float32):

=========  =======================================================  ===========================================
dense      `<name>`                                                 the difference itself
low_rank   `<name>.lora_A` (r, in), `<name>.lora_B` (out, r)        scale * B @ A, the scale in the metadata
sparse     `<name>.crow` (rows+1), `.col` (nnz), `.values` (nnz)    compressed rows; columns ascend in a row
=========  =======================================================  ===========================================

A tensor that is absent is unchanged. What the file says of itself is in its metadata; see `skill_description`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ...api import LowRank, TensorSpec
from ...errors import MismatchError, reason
from ..numbers.lowrank import product_block
from . import skill_description as description
from .recent import Recent
from .safetensors import SafeReader
from .skill_description import Part

F32, I64, I32 = np.dtype("<f4"), np.dtype("<i8"), np.dtype("<i4")


class Skill:
    """Read side. `block` gives any part of the change in float32, whatever the form; safe for several threads."""

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            self._file = SafeReader(self.path)
        except OSError as error:
            raise MismatchError(f"{path} cannot be read: {reason(error)}") from None
        try:
            text = self._file.metadata.get(description.KEY)
            if text is None:
                raise MismatchError(f"{path} is a safetensors file, but not a skill", "make one with `past extract`")
            self.about, self.parts = description.parse(text, self.path)
            described = {piece for part in self.parts.values() for piece in self._check(part)}
            if silent := sorted(self._file.entries.keys() - described):
                raise MismatchError(f"{path} holds {silent[0]!r}, of which its own description says nothing")
        except BaseException:
            self._file.close()
            raise
        self._specs = {name: part.spec for name, part in self.parts.items()}
        self.factors = Recent(self._read_factors)

    def _check(self, part: Part) -> Iterable[str]:
        """The names of the stored pieces; they must be there, of the right type and shape."""
        name, shape = part.spec.name, part.spec.shape
        rows = part.spec.numel // max(part.spec.columns, 1)
        wanted: dict[str, tuple[str, tuple[int, ...]]]
        if part.form == "dense":
            wanted = {name: ("F32", shape)}
        elif part.form == "low_rank" and len(shape) == 2:
            wanted = {
                f"{name}.lora_A": ("F32", (part.rank, shape[1])),
                f"{name}.lora_B": ("F32", (shape[0], part.rank)),
            }
        elif part.form == "sparse" and len(shape) == 2:
            wanted = {
                f"{name}.crow": ("I64", (rows + 1,)),
                f"{name}.col": ("I32", (part.nnz,)),
                f"{name}.values": ("F32", (part.nnz,)),
            }
        else:
            raise MismatchError(f"{self.path}: tensor {name} {list(shape)} cannot be {part.form}")
        for piece, (dtype, piece_shape) in wanted.items():
            entry = self._file.entries.get(piece)
            if entry is None or (entry.dtype, entry.shape) != (dtype, piece_shape):
                raise MismatchError(f"{self.path}: {piece} is missing or not {dtype} {list(piece_shape)}")
        return wanted

    def specs(self) -> dict[str, TensorSpec]:
        """The tensors that change."""
        return self._specs

    @property
    def norm(self) -> float:
        """Frobenius norm of the whole skill vector."""
        return math.sqrt(math.fsum(part.norm**2 for part in self.parts.values()))

    def block(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """See `Delta`. Dense tensors are given as they lie in the file, read-only; see `SafeReader.view`."""
        part = self.parts[name]
        stop = part.spec.numel if stop is None else stop
        if part.form == "dense":
            return self._file.view(name, F32, start, stop)
        if part.form == "sparse":
            return self._sparse(part, start, stop)
        return product_block(self.factors(name), start, stop)

    def _read_factors(self, name: str) -> LowRank:
        """B, A and scale of a low-rank part."""
        rank, (rows, columns) = self.parts[name].rank, self.parts[name].spec.shape
        a = self._file.read(f"{name}.lora_A", F32).reshape(rank, columns)
        b = self._file.read(f"{name}.lora_B", F32).reshape(rows, rank)
        return LowRank(b, a, self.parts[name].scale)

    def _sparse(self, part: Part, start: int, stop: int) -> np.ndarray:
        name, columns = part.spec.name, part.spec.columns
        first, last = start // columns, -(-stop // columns)
        crow = self._file.read(f"{name}.crow", I64, first, last + 1)
        if (np.diff(crow) < 0).any() or crow[0] < 0 or crow[-1] > part.nnz:
            raise MismatchError(f"{self.path}: {name}.crow does not ascend within 0..{part.nnz}")
        col = self._file.read(f"{name}.col", I32, int(crow[0]), int(crow[-1])).astype(np.int64)
        if col.size and not 0 <= col.min() <= col.max() < columns:
            raise MismatchError(f"{self.path}: {name}.col points outside the row")
        values = self._file.read(f"{name}.values", F32, int(crow[0]), int(crow[-1]))
        where = np.repeat(np.arange(first, last) * columns, np.diff(crow)) + col - start
        inside = (where >= 0) & (where < stop - start)
        block = np.zeros(stop - start, np.float32)
        block[where[inside]] = values[inside]
        return block

    def close(self) -> None:
        self._file.close()


def open_skill(path: Path) -> Skill:
    """Open a skill file; raises `MismatchError` if it is none or is damaged."""
    return Skill(Path(path))
