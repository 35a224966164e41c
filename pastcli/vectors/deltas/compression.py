"""Smaller forms of a skill: truncated to low rank, or to its largest entries; always with the energy that is kept.

Low rank by truncated SVD is the best approximation of its rank in the Frobenius norm (Eckart and Young 1936);
keeping the largest entries is the best sparse one, and what TIES trims by (Yadav et al. 2023, 2306.01708).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...api import LowRank, TensorSpec
from ...errors import MismatchError
from ..files.stream import Span, run
from ..numbers.arithmetic import seeded, squared_norm
from ..numbers.lowrank import as_factors, product_norm, rank_for_energy, svd_of_product
from ..numbers.svd import svd
from .delta import Delta, blocks, whole

FIRST_RANK = 16

ENOUGH = 1e-2
"""Tolerance of the singular triplets: what it costs in energy is of the order of its square."""


@dataclass(frozen=True)
class Form:
    """The form asked for: at most `rank`, or the smallest rank with `energy`, or the `density` largest entries."""

    rank: int = 0
    energy: float = 0.0
    density: float = 0.0
    seed: int = 0

    def __bool__(self) -> bool:
        return bool(self.rank or self.energy or self.density)


@dataclass(frozen=True)
class Compressed:
    """One tensor in its new form: `factors`, or the three arrays of compressed rows; else it stays dense."""

    norm: float
    energy: float
    factors: LowRank | None = None
    rows: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None


def compress(
    delta: Delta, form: Form, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[TensorSpec, Compressed]]:
    """Every tensor of `delta` in the form asked for. Holds one tensor a thread in memory where an SVD is needed."""
    tasks = [Span(spec, 0, spec.numel) for spec in delta.specs().values()]

    def work(span: Span) -> Compressed:
        return sparse(delta, span.spec, form.density) if form.density else truncated(delta, span.spec, form)

    held = 0 if form.density else max((task.spec.numel for task in tasks), default=0)
    for span, made in run(tasks, work, progress, held):
        yield span.spec, made


def truncated(delta: Delta, spec: TensorSpec, form: Form) -> Compressed:
    """Low rank for matrices that get smaller by it; anything else stays dense."""
    factors: Any = getattr(delta, "factors", None)
    if len(spec.shape) != 2:
        return Compressed(0.0, 1.0)
    if factors is not None:
        stored = factors(spec.name)
        triplet = svd_of_product(stored)
        return _cut(*triplet, total=product_norm(stored) ** 2, form=form)
    matrix = whole(delta, spec)
    total = squared_norm(matrix)
    if total == 0.0:
        return Compressed(0.0, 1.0)
    worthwhile = spec.numel // (spec.shape[0] + spec.shape[1])
    rank = min(form.rank or FIRST_RANK, worthwhile)
    while rank:
        u, s, vt = svd(matrix, rank, seeded(form.seed, spec.name), ENOUGH)
        held = float(np.sum(s.astype(np.float64) ** 2))
        if form.rank or held >= form.energy * total:
            return _cut(u, s, vt, total, form)
        rank = 0 if rank == worthwhile else min(2 * rank, worthwhile)
    return Compressed(0.0, 1.0)


def _cut(u: np.ndarray, s: np.ndarray, vt: np.ndarray, total: float, form: Form) -> Compressed:
    """Keep the leading triplets; the captured energy is that of the factors as stored."""
    rank = rank_for_energy(s, total, form.energy) if form.energy else len(s)
    rank = max(1, min(rank, form.rank or rank))
    kept = as_factors(u[:, :rank], s[:rank], vt[:rank])
    norm = product_norm(kept)
    return Compressed(norm, min(norm**2 / total, 1.0) if total else 1.0, kept)


def sparse(delta: Delta, spec: TensorSpec, density: float) -> Compressed:
    """The entries at or above the magnitude that `density` of them reach, as compressed rows."""
    if len(spec.shape) != 2:
        return Compressed(0.0, 1.0)
    limit = magnitude_for(delta, spec, density)
    counts, columns, values = [], [], []
    total = 0.0
    for start, stop in blocks(spec):
        block = delta.block(spec.name, start, stop)
        total += squared_norm(block)
        if not math.isfinite(total):
            raise MismatchError(f"the change of tensor {spec.name} holds NaN or infinity")
        (where,) = np.nonzero((np.abs(block) >= limit) & (block != 0.0))
        columns.append(((where + start) % spec.columns).astype(np.int32))
        values.append(block[where])
        counts.append((where + start) // spec.columns)
    crow = np.zeros(spec.shape[0] + 1, np.int64)
    np.cumsum(np.bincount(np.concatenate(counts), minlength=spec.shape[0]), out=crow[1:])
    kept = np.concatenate(values)
    square = squared_norm(kept)
    return Compressed(square**0.5, square / total if total else 1.0, rows=(crow, np.concatenate(columns), kept))


def magnitude_for(delta: Delta, spec: TensorSpec, density: float) -> float:
    """The magnitude that exactly the `density` largest entries of a tensor reach, in constant memory.

    Magnitudes of float32 order like their bits: a histogram of the upper half finds the bin, the values inside
    that bin give the entry.
    """
    wanted = max(1, round(density * spec.numel))
    histogram = np.zeros(1 << 16, np.int64)
    for piece in blocks(spec):
        bits = np.abs(delta.block(spec.name, *piece)).view(np.uint32)
        histogram += np.bincount(bits >> np.uint32(15), minlength=1 << 16)
    above = np.cumsum(histogram[::-1])[::-1]
    chosen = int(np.nonzero(above >= wanted)[0][-1])
    rest = wanted - int(above[chosen] - histogram[chosen])
    inside = []
    for piece in blocks(spec):
        value = np.abs(delta.block(spec.name, *piece))
        inside.append(value[(value.view(np.uint32) >> np.uint32(15)) == chosen])
    candidates = np.concatenate(inside)
    return float(np.partition(candidates, len(candidates) - rest)[len(candidates) - rest])
