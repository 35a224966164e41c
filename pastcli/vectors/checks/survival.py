"""How much of a change is in the stored weights once they are rounded (METHOD 5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...api import Checkpoint
from ..files.stream import Span, run, spans
from ..numbers.arithmetic import Sums

if TYPE_CHECKING:
    from ..deltas.delta import Delta

Progress = Callable[[int, int], None]

FAITHFUL = 0.99
"""Survival (cosine between what was meant and what is stored) below which the user is warned."""

WAY_OUT = (
    "store float32 (--dtype f32), apply the skill as a LoRA adapter at run time (--as adapter), or use a finer type"
)


@dataclass(frozen=True)
class Survival:
    """How much of the change is in the stored weights: cosine and norm ratio of (stored - theta) to lambda v."""

    cosine: float
    ratio: float
    tensors: dict[str, tuple[float, float]] = field(default_factory=dict)

    def worst(self, count: int = 3) -> list[tuple[str, float]]:
        """The tensors that lost most, by cosine."""
        ranked = sorted(self.tensors.items(), key=lambda item: item[1][0])
        return [(name, cosine) for name, (cosine, _) in ranked[:count]]

    def warnings(self) -> list[str]:
        """What a user must be told: nothing while the change is stored faithfully."""
        if self.cosine >= FAITHFUL:
            return []
        worst = ", ".join(f"{name} {cosine:.3f}" for name, cosine in self.worst())
        return [f"the stored type keeps only cosine {self.cosine:.4f} of the skill (worst: {worst}); {WAY_OUT}"]


def sums_by_tensor(
    model: Checkpoint, changed: Iterable[str], work: Callable[[Span], Sums | None], progress: Progress | None
) -> dict[str, Sums]:
    """Run `work`, which gives the sums of one span, over the whole model, and add them up by tensor."""
    totals = {name: Sums() for name in changed}
    for span, sums in run(spans(model.specs().values()), work, progress):
        if sums is not None:
            totals[span.spec.name] += sums
    return totals


def survival(totals: Mapping[str, Sums]) -> tuple[Survival, float]:
    """Survival by tensor and overall, and the norm of what was meant to be added."""
    overall = Sums()
    for sums in totals.values():
        overall += sums
    tensors = {name: (sums.cosine, sums.ratio) for name, sums in totals.items()}
    return Survival(overall.cosine, overall.ratio, tensors), math.sqrt(overall.aa)


def lossy_tensors(
    model: Checkpoint, delta: Delta, kinds: Mapping[str, str], form: Any, progress: Progress | None
) -> list[str]:
    """The tensors of which too little of `delta` would survive if `form` stored `model` + `delta` in types `kinds`."""

    def trial(span: Span) -> Sums | None:
        name = span.spec.name
        if name not in kinds:
            return None
        sums = Sums()
        for start, stop in span.blocks():
            theta, change = model.read(name, start, stop), delta.block(name, start, stop)
            sums.add(change, form.cast(theta + change, kinds[name], span.spec.columns), theta)
        return sums

    totals = sums_by_tensor(model, kinds, trial, progress)
    return [name for name, sums in totals.items() if sums.cosine < FAITHFUL]
