"""How much of a change is in the stored weights once they are rounded (METHOD 5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...api import Checkpoint
from ..files.stream import Span, interleaved, run, spans
from ..numbers.arithmetic import Sums

if TYPE_CHECKING:
    from ..deltas.delta import Delta

Progress = Callable[[int, int], None]

FAITHFUL = 0.99
"""Survival (cosine between what was meant and what is stored) below which the user is warned."""

SKILL, OWN = "the skill", "the target's own change"
"""The changes whose survival is measured: lambda v, and what the target's training did, where it is rounded as well."""

WAY_OUT = (
    "store float32 (--dtype f32), apply the skill as a LoRA adapter at run time (--as adapter), or use a finer type"
)


@dataclass(frozen=True)
class Survival:
    """How much of a change is in the stored weights: cosine and norm ratio of what is stored of it to what was meant,
    whose norm is `norm`; (stored - theta) to lambda v, for a skill."""

    cosine: float
    ratio: float
    norm: float
    tensors: dict[str, tuple[float, float]] = field(default_factory=dict)

    def worst(self, count: int = 3) -> list[tuple[str, float]]:
        """The tensors that lost most, by cosine."""
        ranked = sorted(self.tensors.items(), key=lambda item: item[1][0])
        return [(name, cosine) for name, (cosine, _) in ranked[:count]]

    def warnings(self, what: str) -> list[str]:
        """What a user must be told: nothing while the change, called `what`, is stored faithfully."""
        if self.cosine >= FAITHFUL:
            return []
        worst = ", ".join(f"{name} {cosine:.3f}" for name, cosine in self.worst())
        return [f"the stored type keeps only cosine {self.cosine:.4f} of {what} (worst: {worst}); {WAY_OUT}"]


def sums_by_tensor(
    model: Checkpoint, work: Callable[[Span], Mapping[str, Sums]], progress: Progress | None
) -> dict[str, dict[str, Sums]]:
    """Run `work`, which gives the sums of one span by what they are of, over the whole model; added up by tensor."""
    totals: dict[str, dict[str, Sums]] = {}
    for span, found in run(interleaved(spans(model.specs().values())), work, progress):
        for what, sums in found.items():
            mine = totals.setdefault(what, {}).setdefault(span.spec.name, Sums())
            mine += sums
    return totals


def survivals(totals: Mapping[str, Mapping[str, Sums]]) -> dict[str, Survival]:
    """Survival by tensor and overall, of the skill (also where it changes nothing) and of whatever else was summed."""
    found = {}
    for what, sums in {SKILL: {}, **totals}.items():
        overall = Sums()
        for one in sums.values():
            overall += one
        tensors = {name: (one.cosine, one.ratio) for name, one in sums.items()}
        found[what] = Survival(overall.cosine, overall.ratio, math.sqrt(overall.aa), tensors)
    return found


def lossy_tensors(
    model: Checkpoint, delta: Delta, kinds: Mapping[str, str], form: Any, progress: Progress | None
) -> list[str]:
    """The tensors of which too little of `delta` would survive if `form` stored `model` + `delta` in types `kinds`."""

    def trial(span: Span) -> dict[str, Sums]:
        name, sums = span.spec.name, Sums()
        if name not in kinds:
            return {}
        for start, stop in span.blocks():
            theta, change = model.read(name, start, stop), delta.block(name, start, stop)
            sums.add(change, form.cast(theta + change, kinds[name], span.spec.columns), theta)
        return {SKILL: sums}

    totals = sums_by_tensor(model, trial, progress).get(SKILL, {})
    return [name for name, sums in totals.items() if sums.cosine < FAITHFUL]
