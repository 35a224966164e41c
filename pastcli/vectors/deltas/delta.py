"""What is added to a model: anything that gives the change of a tensor block by block.

A skill file is one (`Skill.block`); a scaled sum of skills is another; controls, projection and merging wrap
one and are again one. So `inject` needs to know none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ...api import TensorSpec
from ...errors import MismatchError
from ..files.skill import Skill
from ..files.stream import BLOCK, cut


class Delta(Protocol):
    """The change of some tensors of a model."""

    def specs(self) -> Mapping[str, TensorSpec]:
        """The tensors that change, by name."""

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        """Elements [start, stop) of the change: 1-D float32, perhaps read-only. Cut as for `Checkpoint.read`; thread-safe."""


def blocks(spec: TensorSpec) -> list[tuple[int, int]]:
    """Every block of one tensor."""
    return list(cut(0, spec.numel, spec.columns, BLOCK))


def whole(delta: Delta, spec: TensorSpec) -> np.ndarray:
    """One change in its full shape, in memory; raises `MismatchError` if it holds NaN or infinity."""
    flat = np.empty(spec.numel, np.float32)
    for start, stop in blocks(spec):
        flat[start:stop] = delta.block(spec.name, start, stop)
        if not np.isfinite(flat[start:stop]).all():
            raise MismatchError(f"the change of tensor {spec.name} holds NaN or infinity")
    return flat.reshape(spec.shape)


def lies_in_file(delta: Delta, name: str) -> bool:
    """Whether `block` shows a change where it lies in a file, so that a long block takes no memory."""
    if isinstance(delta, Skill):
        return delta.parts[name].form == "dense"
    if not isinstance(delta, Sum):
        return False
    touching = [(part, factors[name]) for part, factors in delta.terms if factors.get(name) and name in part.specs()]
    return len(touching) == 1 and touching[0][1] == 1.0 and lies_in_file(touching[0][0], name)


class Only:
    """`delta` on some of its tensors."""

    def __init__(self, delta: Delta, specs: Mapping[str, TensorSpec]):
        self._specs, self.block = specs, delta.block

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs


class Sum:
    """sum_i lambda_i * v_i in float32, left to right, each lambda by tensor name; a lambda of 1 multiplies nothing."""

    def __init__(self, terms: Sequence[tuple[Delta, Mapping[str, float]]]):
        self.terms = terms
        self._specs = {
            name: spec for delta, factors in terms for name, spec in delta.specs().items() if factors[name] != 0.0
        }

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        total = None
        for delta, factors in self.terms:
            if factors[name] == 0.0 or name not in delta.specs():
                continue
            part = delta.block(name, start, stop)
            if factors[name] != 1.0:
                part = np.multiply(part, np.float32(factors[name]), out=part if part.flags.writeable else None)
            total = part if total is None else np.add(total, part, out=total if total.flags.writeable else None)
        return np.zeros(stop - start, np.float32) if total is None else total
