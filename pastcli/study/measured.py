"""What was measured of which run: the arms of a study by the models and vectors that they were made of.

`results.json` says what each arm scored. The file kept here, in the workspace, says of its runs which arm they were: `past
inspect` tells by it what a skill was measured to do, and the last line of a study how the model that was measured is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..config import InjectConfig, digest
from ..files import write_json
from ..measured import FOLDER
from ..verdict import figure_of
from .compared import factor_of
from .node import Node, One


def made_of(asked: Iterable[One], workspace: Path) -> dict[str, Any]:
    """{arm: {seed: {scale: {"models": [run, ...], "vectors": [run, ...]}}}}: one model, or one for each document. What is no run, the
    base or a skill file made before, is named by its path from the workspace."""
    made: dict[str, Any] = {}
    for one in asked:
        model = dict(one.node.inputs).get("model")
        if model is None:  # a program without a model
            continue
        target, vectors = model, list[str]()
        if isinstance(model, Node) and model.stage == "inject":
            target = dict(model.inputs)["target"]
            vectors = [_named(it, workspace) for role, it in model.inputs if role == "vector"]
        scale = f"{getattr(one, 'scale', 1.0):g}"
        entry = made.setdefault(one.arm, {}).setdefault(str(one.seed), {})
        models = entry.setdefault(scale, {"models": [], "vectors": vectors})["models"]
        if (name := _named(target, workspace)) not in models:
            models.append(name)
    return made


def _named(it: Node | Path, workspace: Path) -> str:
    return it.name if isinstance(it, Node) else os.path.relpath(it, workspace)


def keep(document: Mapping[str, Any], made: Mapping[str, Any], out: Path, workspace: Path) -> None:
    """Leave word in the workspace of what its runs were measured to do; the study's own results stay free of paths."""
    folder = workspace / "runs" / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    where = os.path.relpath(out, workspace)
    write_json(folder / f"{digest(where)[:16]}.json", told(document, made) | {"results": where})


def told(document: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """Of every arm with an effect: its runs, and what it has over the arm that it is compared with."""
    summary, arms = document["summary"], document["study"]["arms"]
    levels, figure, named = figure_of(summary)
    found = []
    for arm, effect in summary["effects"].items():
        one = effect.get("metrics", effect).get(figure)
        if arm not in made or one is None or one["against"] not in levels or arms[arm].get("within"):
            continue
        chosen = summary.get("scales", {}).get(arm, {}).get("scale")
        runs = {seed: by.get(chosen) or next(iter(by.values())) for seed, by in made[arm].items()}
        found.append(
            {
                "arm": arm,
                "test": bool(arms[arm]["test"]),
                "control": arms[arm]["control"],
                "add": [factor_of(text) for text in arms[arm]["add"]],
                "plain": not arms[arm].get("inject") and _plain(document["study"]["settings"].get("inject")),
                "scale": float(chosen or next(iter(made[arm][next(iter(made[arm]))]))),
                "runs": runs,
                "reference": one["against"],
                "metric": named,
                "level": levels[arm][figure]["mean"],
                "reference_level": levels[one["against"]][figure]["mean"],
                "gain": {name: one.get(name) for name in ("mean", "low", "high", "p", "p_holm")},
                "seeds": len(one["by_seed"]),
            }
        )
    kinds = {name: vector["kind"] for name, vector in document["study"]["vectors"].items()}
    return {"study": document["title"], "vectors": kinds, "arms": found}


def _plain(settings: Mapping[str, Any] | None) -> bool:
    """Whether these settings of an injection add vectors and do nothing else, as `past ask --vector` does."""
    usual = vars(InjectConfig())
    aside = ("scale", "control", "seed", "dtype", "rounding", "raise_types", "min_survival")
    return all(value == usual.get(name, value) for name, value in (settings or {}).items() if name not in aside)
