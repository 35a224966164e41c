"""Continual adaptation in figures: what is left of each domain after each step, of the base, the skill's angle with the
drift, and what an update costs beside reinforcement learning on it. From a results document alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import stats

FIGURES = ("cosine", "chance", "norm", "step_cosine", "step_norm")


def summarise(document: Mapping[str, Any], scores: Mapping[str, Any], confidence: float) -> dict[str, Any]:
    """One row a step and domain asked about: score, what is kept of it since it was learnt, of the base, and the angles."""
    found: dict[str, Any] = {}
    for name, arm in document.get("continual", {}).items():
        rows = []
        for step, domain in enumerate(arm["steps"]):
            drift = {
                vector: _over_seeds([one[step] for one in seeds.values()], confidence)
                for vector, seeds in arm["drift"].items()
            }
            spent = [seeds[step] for seeds in arm["seconds"].values() if seeds[step]]
            for about in arm["steps"][: step + 1]:
                label = f"{name}: {about} after {domain}"
                if label in scores:
                    row = {"after": domain, "about": about, "label": label, "drift": drift if about == domain else {}}
                    rows.append({**row, "seconds": _mean_seconds(spent) if about == domain else {}})
        if rows:
            found[name] = rows
    return found


def _over_seeds(steps: Sequence[Mapping[str, Any]], confidence: float) -> dict[str, Any]:
    """Mean of each figure over the seeds, the cosines with Student's interval."""
    made: dict[str, Any] = {}
    for figure in FIGURES:
        known = [step[figure] for step in steps if step[figure] is not None]
        if known:
            made[figure] = (
                stats.t_interval(known, confidence)._asdict() if "cosine" in figure else sum(known) / len(known)
            )
    return made


def _mean_seconds(spent: Sequence[Mapping[str, float]]) -> dict[str, float]:
    stages = dict.fromkeys(stage for step in spent for stage in step)
    return {stage: round(sum(step.get(stage, 0.0) for step in spent) / len(spent), 1) for stage in stages}
