"""`past inspect` without a file: the skills of a workspace, what each fits, and what it was measured to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from .. import measured, output, runs
from ..errors import PastError
from ..words import counted
from . import _lineage


def listed() -> list[dict[str, Any]]:
    """Every skill that a run of the workspace made and that is still there, the newest last."""
    found = []
    for record in runs.records():
        path = record.output("skill")
        if path is None or not path.is_file():
            continue
        about = _described(path)
        told = [*_measured(record), *map(_told, measured.of_vector(record))]
        by_study = _lineage.of_study(record)
        found.append({"run": record.id, "path": str(path), **about, "by_study": by_study, "measured": told})
    return found


def _described(path: Path) -> dict[str, Any]:
    """Norm, and the model it fits; of a file that cannot be read, why."""
    from ..vectors.files.skill import open_skill

    try:
        with closing(open_skill(path)) as skill:
            identity = skill.about.identity
            fits = f"{identity.architecture}, {identity.vocab_size} tokens"
            by = (skill.about.training or {}).get("stage", "")
            return {"learnt_by": by, "norm": skill.norm, "fits": fits, "warnings": len(skill.about.warnings)}
    except PastError as error:
        return {"learnt_by": "", "norm": None, "fits": f"unreadable: {error.message}", "warnings": 0}


LEARNT_BY = {
    "rl": "a skill, learnt by RL",
    "distill": "a skill, learnt by RL in rounds",
    "sft": "no skill but a control: learnt by SFT, without RL",
}
"""What a vector is by the stage that trained it, as `past inspect` says it."""

KINDS = {
    "imitation": "practice: SFT on the questions and answers that RL would have had",
    "format": "the form of answers alone",
}
"""What a study calls its controls."""


def _told(arm: dict[str, Any]) -> dict[str, Any]:
    """An arm of a study as one measurement of a vector."""
    wanted = (
        "study",
        "results",
        "kind",
        "vector",
        "arm",
        "test",
        "scale",
        "reference",
        "metric",
        "level",
        "reference_level",
        "seeds",
    )
    return {**{name: arm[name] for name in wanted}, "gain": arm["gain"]}


def _measured(maker: runs.Record) -> Iterator[dict[str, Any]]:
    """What evaluations said of models that the skill was injected into, beside their reference."""
    injected = {
        record.id
        for record in runs.records()
        if record.stage == "inject"
        and maker.id in record.parents
        and record.manifest["config"].get("control", "none") in ("none", "")
    }
    for record in runs.records():
        inputs = record.manifest.get("inputs", {}).values() if record.stage == "eval" else ()
        labels = [entry["label"] for entry in inputs if entry.get("run") in injected and "label" in entry]
        if not labels:
            continue
        results = json.loads((record.path / "results.json").read_text(encoding="utf-8"))
        for label in labels:
            if label in results.get("differences", {}):
                gain = results["differences"][label]["f1"]
                yield {"eval": record.id, "model": label, "reference": results["reference"], "f1": gain}


def show(skills: list[dict[str, Any]]) -> None:
    """One line a skill and one for each time it was measured."""
    for skill in skills:
        norm = f"|v| {skill['norm']:.3g}" if skill["norm"] is not None else "?"
        warned = f", {skill['warnings']} warning(s)" if skill["warnings"] else ""
        output.line(f"  {norm}, for {skill['fits']}{warned}", label=skill["path"] + "\n")
        kind = next((KINDS[one["kind"]] for one in skill["measured"] if one.get("kind") in KINDS), "")
        what = LEARNT_BY.get(skill["learnt_by"], "")
        output.line(f"  {what} ({kind})" if what and kind else f"  {what}") if what else None
        for one in skill["measured"]:
            output.line(_in_study(one) if "study" in one else _in_eval(one))
        if not skill["measured"] and skill["by_study"]:
            output.line("  made by a study that has not left word of it here: `past study run FILE --collect` does")
        elif not skill["measured"]:
            output.line("  not measured yet: inject it, then `past eval --model sft=@sft --model sft+skill=@inject`")


def _in_eval(one: dict[str, Any]) -> str:
    gain = one["f1"]
    interval = f"[{gain['low']:+.3f}, {gain['high']:+.3f}]" if gain["low"] is not None else ""
    return f"  F1 {gain['mean']:+.3f} {interval} over {one['reference']} (p {gain['p_holm']:.2g}, {one['eval']})"


def _in_study(one: dict[str, Any]) -> str:
    """What an arm with the vector came to: the level, the gain with its interval over seeds, or that there is none."""
    gain, seeds = one["gain"], one["seeds"]
    p = gain["p_holm"] if gain["p_holm"] is not None else gain["p"]
    over = f"{counted(seeds, 'seeds')}, p {p:.2g}" if seeds > 1 else "one seed: no interval, no claim"
    interval = f" [{gain['low']:+.3f}, {gain['high']:+.3f}]" if gain["low"] is not None else ""
    levels = f"{one['metric']} {one['level']:.3f} where {one['reference']} has {one['reference_level']:.3f}"
    return f"  {one['arm']}: {levels} ({gain['mean']:+.3f}{interval}, {over}; {one['results']})"
