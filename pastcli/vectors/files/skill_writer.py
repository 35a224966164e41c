"""Writing a skill file; `skill` says what is in one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...api import LowRank, TensorSpec
from ..numbers.arithmetic import Stored
from . import skill_description as description
from .safetensors import SafeWriter
from .skill import F32, I32, I64
from .skill_description import About, Part
from .stream import Span


class SkillWriter:
    """Write side: parts in any order, dense ones by blocks. The file is a skill only after `finish`."""

    def __init__(self, path: Path, about: About):
        self.about = about
        self._parts: dict[str, Part] = {}
        longest = sum(len(name) for name in about.shapes) + 64 * len(about.shapes)
        self._file = SafeWriter(path, 65536 + 8 * longest + 2 * len(description.write(about, {})))

    def dense(self, spec: TensorSpec) -> None:
        """Make room for a dense part; its blocks follow by `write`, its norm by `done`."""
        self._file.add(spec.name, "F32", spec.shape)

    def reserve(self) -> None:
        """Claim disk space for the dense parts declared so far."""
        self._file.reserve()

    def write(self, name: str, start: int, block: np.ndarray) -> None:
        self._file.write(name, start, block)

    def subtract(self, span: Span, after: Stored, before: Stored) -> float:
        """Write a span of a dense part that is `after` - `before`; the sum of its squares, block by block."""
        ends = [stop - span.start for _, stop in span.blocks()]
        return self._file.write_difference(span.spec.name, span.start, after, before, ends)

    def done(self, spec: TensorSpec, norm: float) -> None:
        self._parts[spec.name] = Part(_f32(spec), "dense", norm)

    def low_rank(self, spec: TensorSpec, factors: LowRank, norm: float, energy: float = 1.0) -> None:
        """Store factors as they are; `scale` stays apart from them so that nothing is rounded."""
        rank = factors.a.shape[0]
        for suffix, matrix in (("lora_A", factors.a), ("lora_B", factors.b)):
            self._file.add(f"{spec.name}.{suffix}", "F32", matrix.shape)
            self._file.write(f"{spec.name}.{suffix}", 0, np.ascontiguousarray(matrix, F32).reshape(-1))
        self._parts[spec.name] = Part(_f32(spec), "low_rank", norm, scale=factors.scale, rank=rank, energy=energy)

    def sparse(
        self, spec: TensorSpec, crow: np.ndarray, col: np.ndarray, values: np.ndarray, norm: float, energy: float
    ) -> None:
        pieces: dict[str, tuple[str, np.ndarray]] = {
            "crow": ("I64", crow.astype(I64)),
            "col": ("I32", col.astype(I32)),
            "values": ("F32", values.astype(F32)),
        }
        for suffix, (dtype, array) in pieces.items():
            self._file.add(f"{spec.name}.{suffix}", dtype, array.shape)
            self._file.write(f"{spec.name}.{suffix}", 0, array)
        self._parts[spec.name] = Part(_f32(spec), "sparse", norm, nnz=len(values), energy=energy)

    def finish(self) -> dict[str, Part]:
        order = [name for name in self.about.shapes if name in self._parts]
        parts = {name: self._parts[name] for name in order}
        self._file.finish({"format": "pt", description.KEY: description.write(self.about, parts)})
        return parts

    def close(self) -> None:
        self._file.close()


def _f32(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(spec.name, spec.shape, "F32")
