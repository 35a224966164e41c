"""Take out of a skill what lies in the top singular subspaces of the target's own SFT change.

With D = theta_target - theta_base of one matrix and U, V its leading k left and right singular vectors, the part
of v inside is U U^T v V V^T, the orthogonal projection onto span{u_i v_j^T}; v minus that is left. If a
skill and the knowledge of the target do meet somewhere (METHOD 4), it is here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...api import TensorSpec
from ...errors import UsageError
from ..files.recent import Recent
from ..numbers.arithmetic import seeded
from ..numbers.svd import svd
from .delta import Delta, blocks, whole


def parse(text: str) -> int:
    """K of `sft:K`; 0 for ''."""
    if not text:
        return 0
    kind, _, rank = text.partition(":")
    if kind != "sft" or not rank.isdigit() or int(rank) == 0:
        raise UsageError(f"--project {text!r} is not sft:K", "for example sft:8")
    return int(rank)


class Projected:
    """`delta` without its part in the top-`rank` subspaces of `change`; vectors (norms, biases) stay as they are."""

    def __init__(self, delta: Delta, change: Delta, rank: int, seed: int):
        self._delta, self._change, self._rank, self._seed = delta, change, rank, seed
        self._part = Recent(self._make)

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._delta.specs()

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        block = self._delta.block(name, start, stop)
        spec = self.specs()[name]
        if len(spec.shape) != 2 or name not in self._change.specs():
            return block
        left, right = self._part(name)
        first, last = start // spec.columns, -(-stop // spec.columns)
        inside = (left[first:last] @ right).reshape(-1)
        return block - inside[start - first * spec.columns : stop - first * spec.columns]

    def _make(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """U (rows, k) and (U^T v V) V^T (k, columns): their product is the part inside."""
        spec = self.specs()[name]
        u, _, vt = svd(whole(self._change, spec), min(self._rank, *spec.shape), seeded(self._seed, name))
        u, vt = u.astype(np.float32), vt.astype(np.float32)
        core = np.zeros((u.shape[1], spec.columns))
        for start, stop in blocks(spec):
            rows = slice(start // spec.columns, stop // spec.columns)
            core += u[rows].T.astype(np.float64) @ self._delta.block(name, start, stop).reshape(-1, spec.columns)
        return u, ((core @ vt.T) @ vt).astype(np.float32)
