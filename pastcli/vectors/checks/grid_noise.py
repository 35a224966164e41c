"""Is the difference of two 16-bit checkpoints a difference, or the noise of their grid? (METHOD 5)

A weight stored in 16 bits sits on a grid of step u = 2^(e + 1 - bits). Of two stored weights only the
difference in whole steps, d, is seen. If the true difference is N(0, s^2) in units of u and the weights lie
anywhere between grid points, then

    E[d^2] = s^2 + E[f (1 - f)],   f = the fractional part of |N(0, s^2)|        (both on the grid)
    E[d^2] = s^2 + 1/12                                                          (one of them on the grid)

so the observed mean of d^2 at each magnitude gives back s, and with it the cosine between the stored and the
true difference: E[d | delta] = delta, hence cos^2 = sum s^2 u^2 / sum d^2 u^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ...api import Checkpoint, TensorSpec
from ...errors import MismatchError
from ..numbers.arithmetic import SIGNIFICAND_BITS, STORAGE

SAMPLE = 1 << 16
"""Elements looked at in each tensor."""

DOMINATED = 0.7071
"""Estimated cosine below which noise carries more than half of the difference's energy."""


@dataclass(frozen=True)
class GridNoise:
    """`grid` is the coarser stored type; `changed` the share of entries that differ at all, `one_step` the share
    of those that differ by exactly one grid step; `cosine` the estimated cosine to the true difference."""

    grid: str
    changed: float
    one_step: float
    cosine: float

    def sentence(self) -> str:
        return (
            f"stored on the {self.grid} grid, {self.changed:.1%} of the sampled weights differ, "
            f"{self.one_step:.0%} of those by exactly one grid step: the difference seen has an "
            f"estimated cosine of {self.cosine:.2f} to the true one"
        )


def check(sft: Checkpoint, rl: Checkpoint, allow_lossy: bool) -> list[str]:
    """Warnings about rounding in a difference of checkpoints; raises `MismatchError` when it dominates (METHOD 5)."""
    for model in (sft, rl):
        what = quantised(model)
        if what is not None:
            if not allow_lossy:
                raise MismatchError(what, "take the unquantised checkpoints; --allow-lossy takes it as it is")
            return [what]
    return judge(measure(sft, rl), sft, rl, allow_lossy)


def quantised(model: Checkpoint) -> str | None:
    """What is wrong with a quantised checkpoint on one side of a difference; None if it is none."""
    coarse = next((spec for spec in model.specs().values() if spec.dtype not in STORAGE), None)
    if coarse is None:
        return None
    return f"{model.path} is quantised ({coarse.name}: {coarse.dtype}): its error is in the difference"


def judge(noise: GridNoise | None, sft: Checkpoint, rl: Checkpoint, allow_lossy: bool) -> list[str]:
    """Warnings about what was measured; raises `MismatchError` when noise dominates."""
    if noise is None or noise.cosine >= 0.99:
        return []
    if noise.cosine < DOMINATED and not allow_lossy:
        raise MismatchError(
            f"the difference of {rl.path} and {sft.path} is mostly rounding noise: {noise.sentence()}",
            "keep what training gave in float32 or as a LoRA adapter; --allow-lossy takes it as it is "
            "(right only if the run itself kept its weights in 16 bits)",
        )
    return [f"16-bit rounding in the difference: {noise.sentence()}"]


def measure(sft: Checkpoint, rl: Checkpoint, sample: int = SAMPLE) -> GridNoise | None:
    """Look at about `sample` elements of every tensor of both checkpoints; None when neither is on a 16-bit grid, or nothing differs."""
    specs = sft.specs()
    grids = [_grids(checkpoint, sample) for checkpoint in (sft, rl)]
    if {*grids[0].values(), *grids[1].values()} <= {"F32"}:
        return None
    signal = energy = 0.0
    seen = changed = single = 0
    coarsest = "F32"
    for name, spec in specs.items():
        a, b = _sample(sft, spec, sample), _sample(rl, spec, sample)
        coarse = min(grids[0][name], grids[1][name], key=SIGNIFICAND_BITS.__getitem__)
        coarsest = min(coarsest, coarse, key=SIGNIFICAND_BITS.__getitem__)
        steps, exponent = _in_steps(a, b, coarse)
        kept, total = _energies(steps, exponent, sum(grid[name] != "F32" for grid in grids))
        weight = spec.numel / max(a.size, 1)
        signal, energy = signal + weight * kept, energy + weight * total
        moved = steps != 0
        seen, changed, single = (
            seen + steps.size,
            changed + int(moved.sum()),
            single + int((np.abs(steps[moved]) == 1).sum()),
        )
    if energy == 0.0:
        return None
    return GridNoise(coarsest, changed / seen, single / changed, float(np.sqrt(min(signal / energy, 1.0))))


def _grids(checkpoint: Checkpoint, sample: int) -> dict[str, str]:
    """The grid of each tensor: its stored type; for float32, the 16-bit type that all matrices were widened from."""
    specs = checkpoint.specs()
    matrices = [spec for spec in specs.values() if len(spec.shape) == 2 and spec.dtype == "F32"]
    found = {_grid(_sample(checkpoint, spec, sample)) for spec in matrices}
    widened = found.pop() if len(found) == 1 else "F32"
    return {name: spec.dtype if spec.dtype in ("F16", "BF16") else widened for name, spec in specs.items()}


def _sample(checkpoint: Checkpoint, spec: TensorSpec, sample: int) -> np.ndarray:
    """Whole rows from the middle of a tensor, about `sample` elements."""
    rows = spec.numel // max(spec.columns, 1)
    count = max(1, min(rows, sample // max(spec.columns, 1)))
    first = (rows - count) // 2
    return checkpoint.read(spec.name, first * spec.columns, (first + count) * spec.columns)


def _grid(values: np.ndarray) -> str:
    """The coarsest float type that holds all of `values`: a 16-bit model saved again as float32 is still 16-bit."""
    bits = values.view(np.uint32)
    if not (bits & np.uint32(0xFFFF)).any():
        return "BF16"
    with np.errstate(over="ignore"):
        return "F16" if np.array_equal(values.astype(np.float16).astype(np.float32), values) else "F32"


def _in_steps(a: np.ndarray, b: np.ndarray, grid: str) -> tuple[np.ndarray, np.ndarray]:
    """(b - a) / u and the binary exponent of u, element by element; float16 has a smallest step of 2^-24."""
    exponent = np.frexp(np.maximum(np.abs(a), np.abs(b)))[1] - SIGNIFICAND_BITS[grid]
    if grid == "F16":
        exponent = np.maximum(exponent, -24)
    return np.ldexp(b.astype(np.float64) - a, -exponent), exponent


def _energies(steps: np.ndarray, exponent: np.ndarray, on_grid: int) -> tuple[float, float]:
    """Estimated signal energy and observed energy; `on_grid` of the two checkpoints carry rounding noise."""
    if on_grid == 0:
        plain = float(np.sum(np.ldexp(steps, exponent) ** 2))
        return plain, plain
    lowest = int(exponent.min())
    count = np.bincount(exponent - lowest)
    present = np.flatnonzero(count)
    mean = np.bincount(exponent - lowest, steps * steps)[present] / count[present]
    weight = count[present] * np.ldexp(1.0, 2 * (present + lowest))
    variance = _invert(mean) if on_grid == 2 else _without_rounding(mean)
    return float(weight @ variance), float(weight @ mean)


def _without_rounding(mean: np.ndarray) -> np.ndarray:
    """s^2 when one side is on the grid. Less than the 1/12 that rounding adds cannot come from rounding: then the
    other side was trained from the very grid points, and the difference is exact."""
    return np.where(mean < 0.95 / 12, mean, np.maximum(mean - 1 / 12, 0.0))


def expected_square(s: np.ndarray) -> np.ndarray:
    """E[d^2](s) when both sides are on the grid: from f (1 - f) = 1/6 - sum cos(2 pi k x) / (pi k)^2 and
    E[cos(2 pi k s z)] = exp(-2 (pi k s)^2). Below s = 0.1 no |x| reaches 1 (10 sigma), and f (1 - f) = |x| - x^2."""
    k = np.arange(1, 13)[:, None]  # the thirteenth term is below 1e-14 at s = 0.1
    series = np.exp(-2 * (np.pi * k * np.maximum(s, 0.1)) ** 2) / (np.pi * k) ** 2
    return np.where(s < 0.1, s * np.sqrt(2 / np.pi), s * s + 1 / 6 - series.sum(axis=0))


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """log s, evenly, and log E[d^2](s)."""
    s = np.logspace(-5, 1, 400)
    return np.log(s), np.log(expected_square(s))


def _invert(mean: np.ndarray) -> np.ndarray:
    """s^2 such that E[d^2](s) = mean; beyond s = 10 the noise is 1/6 of a step squared."""
    s, expected = _table()
    size = np.log(np.maximum(mean, 1e-300))
    square = np.where(size < expected[-1], np.exp(2 * np.interp(size, expected, s)), mean - 1 / 6)
    return np.where(mean <= 0.0, 0.0, square)
