"""`past inspect` without a file: the skills of a workspace, what each fits, and what it was measured to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from .. import output, runs
from ..errors import PastError


def listed() -> list[dict[str, Any]]:
    """Every skill that a run of the workspace made and that is still there, the newest last."""
    found = []
    for record in runs.records():
        path = record.output("skill")
        if path is None or not path.is_file():
            continue
        found.append({"run": record.id, "path": str(path), **_described(path), "measured": list(_measured(record))})
    return found


def _described(path: Path) -> dict[str, Any]:
    """Norm, and the model it fits; of a file that cannot be read, why."""
    from ..vectors.files.skill import open_skill

    try:
        with closing(open_skill(path)) as skill:
            identity = skill.about.identity
            fits = f"{identity.architecture}, {identity.vocab_size} tokens"
            return {"norm": skill.norm, "fits": fits, "warnings": len(skill.about.warnings)}
    except PastError as error:
        return {"norm": None, "fits": f"unreadable: {error.message}", "warnings": 0}


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
    if not skills:
        output.note(f"no skills in {runs.runs_dir()}; make one with `past extract`, or name a file")
        return
    for skill in skills:
        norm = f"|v| {skill['norm']:.3g}" if skill["norm"] is not None else "?"
        warned = f", {skill['warnings']} warning(s)" if skill["warnings"] else ""
        output.line(f"  {norm}, for {skill['fits']}{warned}", label=skill["path"] + "\n")
        for one in skill["measured"]:
            gain = one["f1"]
            interval = f"[{gain['low']:+.3f}, {gain['high']:+.3f}]" if gain["low"] is not None else ""
            output.line(
                f"  F1 {gain['mean']:+.3f} {interval} over {one['reference']} (p {gain['p_holm']:.2g}, {one['eval']})"
            )
        if not skill["measured"]:
            output.line("  not measured yet: inject it, then `past eval --model sft=@sft --model sft+skill=@inject`")
