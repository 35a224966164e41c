"""Exact arithmetic on blocks of weights: arrays in, arrays out, no files.

Everything is computed in float32; sums of products are accumulated in float64. bfloat16, which numpy lacks,
is handled as its bit pattern: the upper half of a float32. The inner loops are compiled (`kernels.c`); where the
package was built without a compiler, numpy gives the same results more slowly.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import MismatchError
from .compiled import Codec, load

_kernels, WHY_NOT = load()
"""The compiled loops, and why there are none."""

STORAGE: dict[str, np.dtype] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F64": np.dtype("<f8"),
}
"""numpy type of the bytes of each float type of safetensors (bfloat16 as its bit pattern)."""

SIGNIFICAND_BITS = {"F32": 24, "F16": 11, "BF16": 8}
"""Significant bits, the hidden one included: one step of the grid at |w| in [2^e, 2^(e+1)) is 2^(e + 1 - bits)."""


def compiled() -> bool:
    """Whether the compiled inner loops are in use."""
    return _kernels is not None


def widen(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Stored values as float32. Exact for F32, F16 and BF16; F64 is rounded to nearest."""
    if dtype == "BF16":
        value = np.empty(raw.size, np.float32)
        if _kernels:
            _kernels.widen(raw, value)
        else:
            np.left_shift(raw, np.uint32(16), out=value.view(np.uint32))
        return value
    return raw.astype(np.float32, copy=False)


def narrow(value: np.ndarray, dtype: str) -> np.ndarray:
    """float32 values in stored type `dtype`, rounded to nearest, ties to even (IEEE 754 roundTiesToEven)."""
    if dtype == "F32":
        return value
    if dtype == "BF16":
        if _kernels:
            raw = np.empty(value.size, np.uint16)
            _kernels.narrow(np.ascontiguousarray(value), raw)
            return raw
        return _narrow_bf16(value)
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which the caller's sums reveal
        return value.astype(STORAGE[dtype])


def _narrow_bf16(value: np.ndarray) -> np.ndarray:
    bits = value.view(np.uint32)
    upper = bits >> np.uint32(16)
    rounded = (bits + (upper & np.uint32(1)) + np.uint32(0x7FFF)) >> np.uint32(16)
    return np.where(np.isnan(value), upper | np.uint32(0x40), rounded).astype(np.uint16)


def gram(arrays: Sequence[np.ndarray], edges: Sequence[tuple[int, int]]) -> np.ndarray:
    """Inner products (k, k), in float64, of the k float32 differences arrays[after] - arrays[before].

    `arrays` are 1-D and of one length, float32 or bfloat16 bit patterns (uint16); `edges` are (after, before) indices
    into them, before = -1 for the array itself.
    """
    count = len(edges)
    if _kernels and arrays[0].size:
        flat = _kernels.gram(tuple(map(np.ascontiguousarray, arrays)), tuple(edges))
        return np.array(flat).reshape(count, count)
    wide = [widen(array, "BF16") if array.dtype == np.uint16 else array for array in arrays]
    rows = [(wide[i] if j < 0 else wide[i] - wide[j]).astype(np.float64) for i, j in edges]
    return np.array([[np.dot(a, b) for a in rows] for b in rows]).reshape(count, count)


Stored = tuple[str, np.ndarray]
"""The type of some stored weights, and the weights in it (1-D, of the numpy type that `STORAGE` names)."""

KINDS = {"F32": 0, "BF16": 1, "F16": 2}
"""The float types that `add_stored` knows, by their numbers in compiled code."""


def add_stored(source: str, target: str, raw: np.ndarray, change: np.ndarray | None) -> tuple[np.ndarray, Sums]:
    """Stored weights `raw` (type `source`, as in `STORAGE`) plus float32 `change` (None: none), rounded to type `target`:
    stored again, and the inner products of `change` and of what became of it, not finite if a weight is not.

    Only where `compiled()`, and for types of `KINDS`.
    """
    out = np.empty(raw.size, STORAGE[target])
    if change is not None:
        change = np.ascontiguousarray(change)
    assert _kernels is not None, "add_stored is for compiled kernels"
    aa, ab, bb = _kernels.add(KINDS[source], KINDS[target], raw, change, out)
    return out, Sums(aa, bb, ab)


def add_to_file(fd: int, offset: int, source: str, target: str, raw: np.ndarray, change: np.ndarray) -> Sums:
    """As `add_stored`, with what is stored written to an open file from byte `offset` on, while it is in the cache."""
    assert _kernels is not None, "add_to_file is for compiled kernels"
    raw, change = np.ascontiguousarray(raw), np.ascontiguousarray(change)
    aa, ab, bb = _kernels.add_to_file(KINDS[source], KINDS[target], raw, change, fd, offset)
    return Sums(aa, bb, ab)


def subtract_to_file(fd: int, offset: int, after: Stored, before: Stored, ends: Sequence[int]) -> float:
    """Stored weights `after` - `before` as float32 written to an open file from byte `offset` on; the
    sum of squares of the difference, as `squared_norm` gives it of each block and a sum over blocks, of which `ends` says
    where each ends. Only where `compiled()`, and for types of `KINDS`.
    """
    assert _kernels is not None, "subtract_to_file is for compiled kernels"
    (one, raw), (other, base) = after, before
    return _kernels.subtract_to_file(KINDS[one], raw, KINDS[other], base, np.array(ends, np.int64), fd, offset)


def recast(raw: np.ndarray, source: str, target: str) -> np.ndarray | None:
    """Stored weights `raw` in another type, or as they are in the same; None unless all of them stay finite."""
    if compiled() and {source, target} <= KINDS.keys():
        made, sums = add_stored(source, target, raw, None)
        return made if sums.finite else None
    value = widen(raw, source)
    made = raw if source == target else narrow(value, target)
    return made if np.isfinite(value).all() and (made is raw or np.isfinite(widen(made, target)).all()) else None


def requantize(source: Codec, target: Codec, raw: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, Sums]:
    """Stored weights `raw` (bytes, type `source`) plus float32 `change`, in type `target`: bytes, and the inner products
    of `change` and of what became of it (not finite if a sum is not). Only where `compiled()`.
    """
    out = np.empty(change.size // target[3] * target[4], np.uint8)
    assert _kernels is not None, "requantize is for compiled kernels"
    aa, ab, bb = _kernels.requantize(source, target, raw, np.ascontiguousarray(change), out)
    return out, Sums(aa, bb, ab)


def overflow(name: str) -> MismatchError:
    """What is raised where a sum or a copy is too large for its stored type."""
    return MismatchError(f"tensor {name} overflows the stored type", "use --dtype f32 or bf16, or a smaller --scale")


def narrow_stochastic(value: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """Round up or down at random so that the expectation is `value` (Croci et al. 2022, mode 1).

    Adding uniform noise below the last kept bit and truncating does it on any part of the grid with a fixed
    step; for float16 below its normal range the step is 2^-24 and the same is done in units of it.
    """
    if dtype == "F32":
        return value
    dropped = 24 - SIGNIFICAND_BITS[dtype]
    noise = rng.integers(0, 1 << dropped, size=value.shape, dtype=np.uint32)
    bits = (value.view(np.uint32) + noise) & np.uint32((0xFFFFFFFF << dropped) & 0xFFFFFFFF)
    if dtype == "BF16":
        return (bits >> np.uint32(16)).astype(np.uint16)
    rounded = bits.view(np.float32)
    small = np.abs(value) < 2.0**-14
    if small.any():
        steps = value[small].astype(np.float64) * 2.0**24
        rounded[small] = np.floor(steps + rng.random(steps.shape)) * 2.0**-24
    with np.errstate(over="ignore"):
        return rounded.astype(np.float16)


def seeded(seed: int, name: str, start: int = 0) -> np.random.Generator:
    """A generator for one block of one tensor: the same numbers whatever the order of blocks or threads."""
    return np.random.Generator(
        np.random.SFC64([seed & 0xFFFFFFFF, zlib.crc32(name.encode()), start >> 32, start & 0xFFFFFFFF])
    )


@dataclass
class Sums:
    """Inner products of two vectors met block by block, in float64: a.a, b.b and a.b."""

    aa: float = 0.0
    bb: float = 0.0
    ab: float = 0.0

    def add(self, a: np.ndarray, after: np.ndarray, before: np.ndarray) -> None:
        """Take in float32 blocks of a and of b = after - before; products of float32 are exact in float64."""
        products = gram((a, after, before), ((0, -1), (1, 2)))
        self.aa += float(products[0, 0])
        self.bb += float(products[1, 1])
        self.ab += float(products[0, 1])

    @classmethod
    def of(cls, products: tuple[float, float, float] | None) -> Sums | None:
        """From the inner products a.a, a.b, b.b, if there are any."""
        return cls(products[0], products[2], products[1]) if products else None

    def __iadd__(self, other: Sums) -> Sums:
        self.aa += other.aa
        self.bb += other.bb
        self.ab += other.ab
        return self

    @property
    def finite(self) -> bool:
        """False once any NaN or infinity has been taken in."""
        return math.isfinite(self.aa) and math.isfinite(self.bb) and math.isfinite(self.ab)

    @property
    def cosine(self) -> float:
        """cos(a, b) in [-1, 1]; 1 for two zero vectors (nothing was lost), 0 if only one is zero."""
        if self.aa == 0.0 or self.bb == 0.0:
            return 1.0 if self.aa == self.bb else 0.0
        return max(-1.0, min(1.0, self.ab / (math.sqrt(self.aa) * math.sqrt(self.bb))))

    @property
    def ratio(self) -> float:
        """|b| / |a|; 1 for two zero vectors."""
        return math.sqrt(self.bb / self.aa) if self.aa else (1.0 if self.bb == 0.0 else math.inf)


def squared_norm(value: np.ndarray) -> float:
    """Sum of squares of a float32 block, in float64."""
    return float(gram((value.reshape(-1),), ((0, -1),))[0, 0])
