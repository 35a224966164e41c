"""Exact arithmetic on blocks of weights: arrays in, arrays out, no files.

Everything is computed in float32; sums of products are accumulated in float64. bfloat16, which numpy lacks,
is handled as its bit pattern: the upper half of a float32.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np

STORAGE = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2"), "F64": np.dtype("<f8")}
"""numpy type of the bytes of each float type of safetensors (bfloat16 as its bit pattern)."""

SIGNIFICAND_BITS = {"F32": 24, "F16": 11, "BF16": 8}
"""Significant bits, the hidden one included: one step of the grid at |w| in [2^e, 2^(e+1)) is 2^(e + 1 - bits)."""

FAITHFUL = 0.99
"""Survival (cosine between what was meant and what is stored) below which the user is warned (METHOD 5)."""


def widen(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Stored values as float32. Exact for F32, F16 and BF16; F64 is rounded to nearest."""
    if dtype == "BF16":
        bits = raw.astype(np.uint32)
        bits <<= np.uint32(16)
        return bits.view(np.float32)
    return raw.astype(np.float32, copy=False)


def narrow(value: np.ndarray, dtype: str) -> np.ndarray:
    """float32 values in stored type `dtype`, rounded to nearest, ties to even (IEEE 754 roundTiesToEven)."""
    if dtype == "F32":
        return value
    if dtype == "BF16":
        bits = value.view(np.uint32)
        rounded = bits >> np.uint32(16)
        rounded &= np.uint32(1)
        rounded += np.uint32(0x7FFF)
        rounded += bits
        rounded >>= np.uint32(16)
        return rounded.astype(np.uint16)
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which the caller's sums reveal
        return value.astype(STORAGE[dtype])


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

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        """Take in float32 blocks; products of float32 are exact in float64."""
        a64, b64 = a.astype(np.float64), b.astype(np.float64)
        self.aa += float(np.dot(a64, a64))
        self.bb += float(np.dot(b64, b64))
        self.ab += float(np.dot(a64, b64))

    def __iadd__(self, other: "Sums") -> "Sums":
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
    wide = value.reshape(-1).astype(np.float64)
    return float(np.dot(wide, wide))
