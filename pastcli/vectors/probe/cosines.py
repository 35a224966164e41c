"""What the probe knows of each tensor, and the cosines that follow for it, a layer, a module kind, or the whole model.

Everything is a sum over entries, so groups of tensors follow by addition. A cosine stands beside its null: the standard
deviation it would have if the signs of the two changes had nothing to do with each other (see `numbers.moments`). Signs
of single entries are the null that METHOD 4 means, made right for weights of unlike size; flipping whole rows also
allows for entries of one output that depend on each other, and is the more careful of the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..checks.grid_noise import GridNoise
from ..numbers.moments import Moments
from .places import grouped

if TYPE_CHECKING:
    from .geometry import Geometry
    from .interference import Interference
    from .subspaces import Overlap

PAIRS = {
    "sft_rl": ("sft", "rl", "SFT change and RL change"),
    "target_rl": ("target_sft", "rl", "the target's SFT change and the RL change"),
    "sft_target": ("sft", "target_sft", "control: the two SFT changes"),
    "sft_sft2": ("sft", "sft2", "control: the two SFT changes"),
    "rl_rl2": ("rl", "rl2", "control: the two RL changes"),
}
"""Cosines reported, by name: (one change, the other, in words)."""


@dataclass(frozen=True)
class Cosine:
    """One cosine over `n` entries with its null: `chance` and `chance_rows` are its standard deviations when the signs of
    entries, or of rows, are fair coins; `z` and `z_rows` its distances from 0 in units of them."""

    cosine: float
    n: int
    chance: float
    chance_rows: float

    @property
    def z(self) -> float:
        return self.cosine / self.chance if self.chance else 0.0

    @property
    def z_rows(self) -> float:
        return self.cosine / self.chance_rows if self.chance_rows else 0.0

    @property
    def careful_z(self) -> float:
        """The one of the two nearer to 0."""
        return min(self.z, self.z_rows, key=abs)

    def to_dict(self) -> dict[str, float]:
        return {**vars(self), "z": self.z, "z_rows": self.z_rows}


@dataclass
class Row:
    """Sums over the `n` entries of one tensor or group: `gram`, `squares` and `rows` as in `Moments`; `shuffled` and
    `shuffled_variance` (k, k) of the inner products over all permutations within each tensor; `signs` of the first
    change with random signs."""

    n: int
    gram: np.ndarray
    squares: np.ndarray
    rows: np.ndarray
    shuffled: np.ndarray
    shuffled_variance: np.ndarray
    signs: float

    @classmethod
    def of(cls, tensor: Moments) -> Row:
        """The sums over one whole tensor."""
        return cls(tensor.n, tensor.gram, tensor.squares, tensor.rows, *tensor.permuted(), tensor.signs)

    def __add__(self, other: Row) -> Row:
        return Row(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass
class Probe:
    """Everything measured: rows by tensor, and the names of the changes in the order of their matrices."""

    changes: list[str]
    rows: dict[str, Row]
    noise: dict[str, GridNoise] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    subspaces: dict[str, Overlap] = field(default_factory=dict)
    interference: dict[str, Interference] = field(default_factory=dict)
    geometry: Geometry | None = None

    def pairs(self) -> dict[str, tuple[int, int]]:
        """Reported pairs whose two changes were given, as ascending indices into `changes`."""
        index = {name: number for number, name in enumerate(self.changes)}
        found = {name: (index[a], index[b]) for name, (a, b, _) in PAIRS.items() if a in index and b in index}
        return {name: (min(pair), max(pair)) for name, pair in found.items()}

    def group(self, key: Callable[[str], str]) -> dict[str, Row]:
        """Rows added up by `key(tensor name)`, in order of first occurrence."""
        return grouped(self.rows, key)

    def whole(self) -> Row:
        """The whole model as one vector."""
        return self.group(lambda name: "")[""]


def cosine(row: Row, pair: tuple[int, int]) -> Cosine | None:
    """The cosine of two changes over a row; None where one of them is zero."""
    i, j = pair
    norms = math.sqrt(row.gram[i, i]) * math.sqrt(row.gram[j, j])
    if not norms:
        return None
    chance, chance_rows = (math.sqrt(variance[i, j]) / norms for variance in (row.squares, row.rows))
    return Cosine(float(row.gram[i, j] / norms), row.n, chance, chance_rows)


def shuffled(row: Row, pair: tuple[int, int]) -> Cosine | None:
    """Mean and standard deviation (as `chance`) of the cosine over all permutations of one change within each tensor."""
    i, j = pair
    norms = math.sqrt(row.gram[i, i]) * math.sqrt(row.gram[j, j])
    if not norms:
        return None
    deviation = math.sqrt(row.shuffled_variance[i, j]) / norms
    return Cosine(float(row.shuffled[i, j] / norms), row.n, deviation, deviation)


def random_direction(row: Row) -> Cosine | None:
    """The first change against random signs of every entry; its standard deviation is 1/sqrt(n)."""
    norm = math.sqrt(row.gram[0, 0]) * math.sqrt(row.n)
    return Cosine(row.signs / norm, row.n, 1 / math.sqrt(row.n), 1 / math.sqrt(row.n)) if norm else None
