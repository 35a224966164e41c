"""How a skill lies to what a model changes as it goes on learning, step by step (continual adaptation).

After each step the drift is what the model has changed since the base; the step's own change is what it has changed since the
step before. A skill that stays orthogonal to both can be taken out and put back: what is learnt later neither uses nor
undoes its direction. Cosines stand beside their chance level, as in `cosines`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...api import Checkpoint, TensorSpec
from ...errors import MismatchError
from ..deltas.difference import difference
from ..files.opening import open_model
from ..files.skill import Skill, open_skill
from .cosines import Row, cosine
from .measure import rows
from .places import grouped


@dataclass(frozen=True)
class Step:
    """One step: `cosine` of the skill with the drift and `chance`, its standard deviation if the signs of rows were coins;
    `step_cosine` with this step's own change; the norms of both. A cosine is None where one of the two is zero."""

    cosine: float | None
    chance: float | None
    norm: float
    step_cosine: float | None
    step_norm: float


class _Change:
    """A skill file as one of the changes that `rows` measures."""

    exact = True

    def __init__(self, skill: Skill, layout: Checkpoint):
        self.layout, self._skill = layout, skill
        self.block = skill.block
        for name, spec in skill.specs().items():
            if name not in layout.specs() or layout.specs()[name].shape != spec.shape:
                raise MismatchError(f"{skill.path} changes {name} {list(spec.shape)}, which {layout.path} has not")

    def specs(self) -> dict[str, TensorSpec]:
        return self._skill.specs()


def drift(base: Path, models: Sequence[Path], skill: Path, starts: Sequence[Path] = (), seed: int = 0) -> list[Step]:
    """The steps of `models`, the first trained from `base`, each other from its place in `starts` (default: the model before).

    One pass over all of them. Where a skill was added between two steps, `starts` has the model with it: what was added is no
    part of what a step learnt. Raises `MismatchError` if they do not fit together or hold NaN or infinity.
    """
    with ExitStack() as stack:
        changes: dict[str, Any] = {
            f"step {number}": stack.enter_context(difference(Path(base), Path(model)))
            for number, model in enumerate(models)
        }
        for number, (start, before) in enumerate(zip(starts, models, strict=False), 1):
            if Path(start).resolve() != Path(before).resolve():
                changes[f"start {number}"] = stack.enter_context(difference(Path(base), Path(start)))
        opened = open_skill(Path(skill))
        stack.callback(opened.close)
        changes["skill"] = _Change(opened, next(iter(changes.values())).layout)
        whole = grouped(rows(changes, seed), lambda name: "")[""]
    names = list(changes)
    begun = [names.index(f"start {n}") if f"start {n}" in names else n - 1 for n in range(len(models))]
    return [_step(whole, number, begun[number], names.index("skill")) for number in range(len(models))]


def cosines(skills: Sequence[Path], model: Path, seed: int = 0) -> dict[tuple[int, int], float | None]:
    """The cosine of every two of some skills, by their places; None where one is zero. `model` is one that they fit."""
    pairs = list(itertools.combinations(range(len(skills)), 2))
    if not pairs:
        return {}
    with ExitStack() as stack:
        layout = stack.enter_context(closing(open_model(Path(model))))
        opened = [stack.enter_context(closing(open_skill(Path(skill)))) for skill in skills]
        changes = {str(number): _Change(skill, layout) for number, skill in enumerate(opened)}
        whole = grouped(rows(changes, seed), lambda name: "")[""]
    found = {pair: cosine(whole, pair) for pair in pairs}
    return {pair: one.cosine if one else None for pair, one in found.items()}


def _step(whole: Row, number: int, begun: int, skill: int) -> Step:
    """Of the changes `number` and `skill` of `whole`. The step's own change is its drift without that of the model it began
    from, the change `begun` (-1: the base itself)."""
    gram = whole.gram
    found = cosine(whole, (number, skill))
    before, squared = 0.0, gram[number, number]
    if begun >= 0:
        before = gram[begun, skill]
        squared = gram[number, number] + gram[begun, begun] - 2 * gram[number, begun]
    step_norm, skill_norm = math.sqrt(max(0.0, squared)), math.sqrt(gram[skill, skill])
    product = step_norm * skill_norm
    own = float(np.clip((gram[number, skill] - before) / product, -1, 1)) if product else None
    return Step(
        found.cosine if found else None,
        found.chance_rows if found else None,
        math.sqrt(gram[number, number]),
        own,
        step_norm,
    )
