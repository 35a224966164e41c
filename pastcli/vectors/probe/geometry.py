"""Where and how an update moves the weights it starts from, for SFT and RL alike (METHOD 6; 2511.08567, 2605.00610).

Of an update W -> W' = W + D, per matrix and added up over layers, module kinds and the whole model:

* sparsity: the share of entries that bfloat16 would not see change, |D| <= 1e-3 max(|W|, |W'|). Chance: the same D
  on other entries of W.
* principal overlap: of the entries where the best rank-k approximation of W is largest (the tenth that carries W), the
  share that changes. Chance: the share of all entries that change, as for a random mask of that size. These entries are
  large, and a large entry counts as changed only by a large D: so also what the same D on other entries would give.
* spectral shift: |s(W') - s(W)| / |s(W)| over the k leading singular values; rotation: the root mean square sine of the
  principal angles between the k leading singular subspaces of W and W', left and right. Chance: the same D with rows
  and columns in random order and with random signs, which has D's singular values but lies anywhere.

Of two updates that start one after the other: the share of entries changed by both in which they have opposite signs
(chance: as if the two signs were drawn apart, each with its own share of plus), and the ratio of their norms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np

from ...api import TensorSpec
from ...errors import MismatchError
from ..files.stream import Span, cut, run
from ..numbers.arithmetic import seeded
from ..numbers.svd import Triplets, svd
from .matrices import ROWS, Matrix, Sum, Turned
from .places import layer_of
from .subspaces import principal_cosines

UNCHANGED = 1e-3
"""bfloat16 has 8 bits: a change below this share of the weight is mostly not stored (2511.08567)."""

PRINCIPAL = 0.1
"""Share of a matrix's entries that count as principal."""

CONVERGED = 3e-6
"""Tolerance of the singular triplets: a rotation is known to about this over the gap of the singular values."""

NULLS = 3
"""Draws of the turned update whose mean is the chance of shift and rotation."""

Reader = Callable[[str, int, int], np.ndarray]
"""Elements of one tensor of a model, float32."""


@dataclass
class Added:
    """Dataclasses of sums: fields add up."""

    def __add__(self, other: Self) -> Self:
        return replace(self, **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass
class Update(Added):
    """Sums over tensors for one update. `sigma` to `right_chance` cover the matrices of layers, `directions` counts their
    angles; `principal` to `principal_chance` count entries of the same."""

    entries: float = 0.0
    changed: float = 0.0
    changed_chance: float = 0.0
    before: float = 0.0
    squares: float = 0.0
    sigma: float = 0.0
    shift: float = 0.0
    shift_chance: float = 0.0
    directions: float = 0.0
    left: float = 0.0
    left_chance: float = 0.0
    right: float = 0.0
    right_chance: float = 0.0
    principal: float = 0.0
    principal_changed: float = 0.0
    principal_chance: float = 0.0
    principal_elsewhere: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The measures, each with its chance; None where nothing was measured."""
        return {
            "entries": int(self.entries),
            "norm": math.sqrt(self.squares),
            "relative_norm": _root(self.squares, self.before),
            "sparsity": 1 - self.changed / self.entries,
            "sparsity_chance": 1 - self.changed_chance / self.entries,
            "principal_overlap": _share(self.principal_changed, self.principal),
            "principal_overlap_chance": _share(self.principal_chance, self.principal),
            "principal_overlap_elsewhere": _share(self.principal_elsewhere, self.principal),
            "spectral_shift": _root(self.shift, self.sigma),
            "spectral_shift_chance": _root(self.shift_chance, self.sigma),
            "rotation_left": _root(self.left, self.directions),
            "rotation_left_chance": _root(self.left_chance, self.directions),
            "rotation_right": _root(self.right, self.directions),
            "rotation_right_chance": _root(self.right_chance, self.directions),
        }


@dataclass
class Meeting(Added):
    """Sums over the entries that two updates both change: how many, of opposite sign, and with plus in the one and the
    other; and their squared norms over all entries."""

    both: float = 0.0
    opposite: float = 0.0
    plus: float = 0.0
    other_plus: float = 0.0
    squares: float = 0.0
    other_squares: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        p, q = (_share(plus, self.both) or 0.0 for plus in (self.plus, self.other_plus))
        return {
            "both_change": int(self.both),
            "sign_conflict": _share(self.opposite, self.both),
            "sign_conflict_chance": p * (1 - q) + q * (1 - p) if self.both else None,
            "norm_ratio": _root(self.squares, self.other_squares),
        }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _root(part: float, whole: float) -> float | None:
    return math.sqrt(part / whole) if whole else None


@dataclass
class Geometry:
    """Per tensor: `updates` by name, and what SFT and RL have in common. `rank` is k."""

    rank: int
    updates: dict[str, dict[str, Update]] = field(default_factory=dict)
    meetings: dict[str, Meeting] = field(default_factory=dict)


def measure(
    models: Mapping[str, Reader],
    updates: Mapping[str, tuple[str, str]],
    specs: Mapping[str, TensorSpec],
    rank: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Geometry:
    """`updates` are pairs of names of `models`, by label; `sft` and `rl` must be among them. Each thread works on one
    tensor, of which it holds blocks and singular vectors."""
    found = Geometry(rank, {label: {} for label in updates})

    def work(span: Span) -> tuple[dict[str, Update], Meeting]:
        return _tensor(span.spec, models, updates, rank, seed)

    tasks = [Span(spec, 0, spec.numel) for spec in specs.values() if spec.numel]
    for span, (measured, meeting) in run(tasks, work, progress):
        found.meetings[span.spec.name] = meeting
        for label, update in measured.items():
            found.updates[label][span.spec.name] = update
    return found


def _tensor(
    spec: TensorSpec, models: Mapping[str, Reader], updates: Mapping[str, tuple[str, str]], rank: int, seed: int
) -> tuple[dict[str, Update], Meeting]:
    measured = {label: Update() for label in updates}
    leading: dict[str, Triplets] = {}
    if len(spec.shape) == 2 and layer_of(spec.name) not in ("embedding", "head"):
        leading = _spectra(spec, models, updates, rank, seed, measured)
    masks = {label: _Principal(leading[before]) for label, (before, _) in updates.items() if before in leading}
    meeting, rng = Meeting(), seeded(seed + 5, spec.name)
    for start, stop in cut(0, spec.numel, spec.columns, max(ROWS, spec.columns)):
        blocks = {name: read(spec.name, start, stop) for name, read in models.items()}
        if not all(np.isfinite(block).all() for block in blocks.values()):
            raise MismatchError(f"tensor {spec.name} holds NaN or infinity in one of the models")
        changed = {}
        for label, (before, after) in updates.items():
            w, delta = blocks[before], blocks[after] - blocks[before]
            changed[label] = (delta, _changed(w, delta))
            elsewhere = _count(measured[label], w, *changed[label], rng)
            if label in masks:
                rows = slice(start // spec.columns, -(-stop // spec.columns))
                _overlap(measured[label], masks[label].block(rows), changed[label][1], elsewhere)
        _meet(meeting, changed["sft"], changed["rl"])
    return measured, meeting


def _changed(w: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Where bfloat16 would see the change."""
    return np.abs(delta) > np.float32(UNCHANGED) * np.maximum(np.abs(w), np.abs(w + delta))


def _count(
    update: Update, w: np.ndarray, delta: np.ndarray, changed: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Sums of one block; gives where bfloat16 would see the same change if it lay on other entries of the block."""
    elsewhere = _changed(w, np.roll(delta, int(rng.integers(1, delta.size))) if delta.size > 1 else delta)
    update.entries += delta.size
    update.changed += int(np.count_nonzero(changed))
    update.changed_chance += int(np.count_nonzero(elsewhere))
    update.before += float(np.dot(w.astype(np.float64), w))
    update.squares += float(np.dot(delta.astype(np.float64), delta))
    return elsewhere


def _overlap(update: Update, principal: np.ndarray, changed: np.ndarray, elsewhere: np.ndarray) -> None:
    count = int(np.count_nonzero(principal))
    update.principal += count
    update.principal_changed += int(np.count_nonzero(principal & changed))
    update.principal_chance += count * float(np.mean(changed))
    update.principal_elsewhere += int(np.count_nonzero(principal & elsewhere))


def _meet(meeting: Meeting, one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> None:
    both = one[1] & other[1]
    a, b = one[0][both] > 0, other[0][both] > 0
    meeting.both += a.size
    meeting.opposite += int(np.count_nonzero(a != b))
    meeting.plus += int(np.count_nonzero(a))
    meeting.other_plus += int(np.count_nonzero(b))
    meeting.squares += float(np.dot(one[0].astype(np.float64), one[0]))
    meeting.other_squares += float(np.dot(other[0].astype(np.float64), other[0]))


class _Principal:
    """The entries where U s V^T is largest in magnitude, by rows."""

    def __init__(self, leading: Triplets):
        u, s, vt = leading
        self._left, self._right = (u * s).astype(np.float32), vt.astype(np.float32)
        step = max(1, len(u) * vt.shape[1] // ROWS)
        sample = np.abs(self._left[step // 2 :: step] @ self._right).reshape(-1)
        place = int((1 - PRINCIPAL) * sample.size)
        self._limit = np.partition(sample, place)[place]

    def block(self, rows: slice) -> np.ndarray:
        return (np.abs(self._left[rows] @ self._right) >= self._limit).reshape(-1)


def _spectra(
    spec: TensorSpec,
    models: Mapping[str, Reader],
    updates: Mapping[str, tuple[str, str]],
    rank: int,
    seed: int,
    measured: Mapping[str, Update],
) -> dict[str, Triplets]:
    """Leading triplets of one matrix in every model, and into `measured` how they moved."""
    matrices = {name: Matrix(_of(read, spec.name), spec.shape) for name, read in models.items()}
    leading: dict[str, Triplets] = {}
    start = None
    for name, matrix in matrices.items():
        leading[name] = svd(matrix, rank, seeded(seed + 6, spec.name), CONVERGED, start)
        start = start if start is not None else leading[name][0]
    rng = seeded(seed + 7, spec.name)
    for label, (before, after) in updates.items():
        w, delta = leading[before], Matrix(_difference(models[before], models[after], spec.name), spec.shape)
        turned = [Sum(matrices[before], Turned(delta, rng)) for _ in range(NULLS)]
        nulls = [_motion(w, svd(null, rank, rng, CONVERGED, w[0])) for null in turned]
        _moved(measured[label], w, _motion(w, leading[after]), np.mean(nulls, axis=0))
    return leading


def _of(read: Reader, name: str) -> Callable[[int, int], np.ndarray]:
    return lambda start, stop: read(name, start, stop)


def _difference(before: Reader, after: Reader, name: str) -> Callable[[int, int], np.ndarray]:
    return lambda start, stop: after(name, start, stop) - before(name, start, stop)


def _motion(before: Triplets, after: Triplets) -> tuple[float, float, float]:
    """Squared shift of the leading singular values, and sums of the squared sines, left and right."""
    k = min(len(before[1]), len(after[1]))
    shift = float(np.sum((after[1][:k] - before[1][:k]) ** 2))
    return (
        (shift, _sines(before[0][:, :k], after[0][:, :k]), _sines(before[2][:k].T, after[2][:k].T)) if k else (0, 0, 0)
    )


def _moved(update: Update, before: Triplets, found: tuple[float, float, float], chance: np.ndarray) -> None:
    update.sigma += float(np.sum(before[1] ** 2))
    update.directions += len(before[1])
    update.shift, update.left, update.right = found
    update.shift_chance, update.left_chance, update.right_chance = map(float, chance)


def _sines(one: np.ndarray, other: np.ndarray) -> float:
    """Sum of the squared sines of the principal angles."""
    return float(np.sum(1 - principal_cosines(one, other) ** 2))
