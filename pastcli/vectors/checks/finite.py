"""Does a model or a skill hold a weight that is no number? What computes with it gives none either, late and in other words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np

from ...api import StoredBits, TensorSpec
from ...cache import recall, remember
from ...errors import MismatchError, NoArithmeticError
from ...hashing import hash_path, hash_weights
from ..files.opening import layers, open_model
from ..files.skill import open_skill
from ..files.stream import Span, run, spans
from ..numbers.arithmetic import squared_norm

Progress = Callable[[int, int], None]
Read = Callable[[str, int, int], np.ndarray]


HINT = (
    "it cannot be trained, asked or added to: take it from where it was sound (an overflow in 16 bits makes infinities)"
)


def broken(model: Path, tensor: str) -> MismatchError:
    """What is raised where a weight of a model is no number."""
    return MismatchError(f"{model}: tensor {tensor} holds NaN or infinity", HINT)


def broken_change(what: str, tensor: str) -> MismatchError:
    """The same of a change, called `what`."""
    return MismatchError(f"{what} holds NaN or infinity in tensor {tensor}", HINT)


def model(path: Path, base: Path | None = None, progress: Progress | None = None) -> None:
    """Raise `MismatchError`, naming the tensor, if the model at `path` holds NaN or infinity: any of its weights, and of an
    adapter its factors and all that lies below it.

    Every weight is looked at, once: which contents were found sound is remembered by their hash. Weights that no arithmetic
    is done on here are left to whoever loads them.
    """
    with ExitStack() as stack:
        try:
            whole, laid = layers(path, base)
            for adapter in laid:
                stack.enter_context(closing(adapter))
            key = hash_weights(whole)
            if not recall("finite", key):
                found = stack.enter_context(closing(open_model(whole)))
                read = found.bits if isinstance(found, StoredBits) else found.read
                _refuse(found.specs().values(), read, partial(broken, whole), progress)
                remember("finite", key, "yes")
        except NoArithmeticError:
            return
        for adapter in laid:
            for name in adapter.specs():
                adapter.factors(name)


def skill(path: Path, what: str = "the skill", progress: Progress | None = None) -> None:
    """The same of a skill file, called `what`."""
    key = hash_path(path)
    if recall("finite", key):
        return
    with closing(open_skill(path)) as found:
        _refuse(found.specs().values(), found.block, partial(broken_change, what), progress)
    remember("finite", key, "yes")


def _refuse(
    specs: Iterable[TensorSpec], read: Read, told: Callable[[str], MismatchError], progress: Progress | None
) -> None:
    """Raise what is `told` of the first tensor that holds one. The squares of float32 are finite in float64, and so is their sum:
    exactly where every weight is."""

    def work(span: Span) -> bool:
        blocks = span.blocks()
        return all(math.isfinite(squared_norm(read(span.spec.name, *block))) for block in blocks)

    for span, sound in run(spans(specs), work, progress):
        if not sound:
            raise told(span.spec.name)
