"""What a model computed in another type than it is stored in keeps of its difference to another one (METHOD 5)."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from ...errors import MismatchError
from ..files.opening import open_model
from ..files.stream import Span, run, spans
from ..numbers.arithmetic import Sums, narrow, widen

TYPES = {"fp32": "F32", "bf16": "BF16", "fp16": "F16"}
"""Names of compute types in settings -> types of stored tensors."""


def cast_survival(model: Path, reference: Path, precision: str) -> float | None:
    """cos(M - R, cast(M) - cast(R)): how much of what tells two models apart is left when both compute in `precision`.

    None if they have no difference, or are not laid out alike.
    """
    kind = TYPES[precision]
    with ExitStack() as stack:
        try:
            one, other = (stack.enter_context(closing(open_model(path))) for path in (model, reference))
        except MismatchError:
            return None
        theirs = other.specs()
        if {name: spec.shape for name, spec in one.specs().items()} != {n: s.shape for n, s in theirs.items()}:
            return None

        def compare(span: Span) -> Sums:
            sums = Sums()
            for start, stop in span.blocks():
                here, there = one.read(span.spec.name, start, stop), other.read(span.spec.name, start, stop)
                after, before = (widen(narrow(np.ascontiguousarray(v), kind), kind) for v in (here, there))
                sums.add(here - there, after, before)
            return sums

        total = Sums()
        for _, sums in run(spans(one.specs().values()), compare, None):
            total += sums
    return total.cosine if total.aa else None
