"""A whole study: plan, make, collect; the results are written anew whenever an arm is complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import environment, output
from .. import config as configs
from ..files import size_of, write_json
from .execute import Store, duration, estimate, make, measured_rates, needed
from .graph import Graph
from .spec import Study

KEPT = ("sft", "rl", "extract")
"""Stages whose results stay, each of the size of a float32 model; injected models are removed when they were asked."""


def plan(study: Study, workspace: Path) -> dict[str, Any]:
    """What would be made: nodes by stage, time and disk."""
    graph, store = Graph(study, workspace / "data"), Store(workspace)
    nodes = graph.nodes()
    left = needed(nodes, store)
    rates = measured_rates(nodes, store)
    by_stage = {stage: sum(node.stage == stage for node in left) for stage in dict.fromkeys(node.stage for node in left)}
    model = _float32_bytes(graph.base)
    return {
        "title": study.title,
        "seeds": list(study.seeds),
        "arms": list(study.arms),
        "source": dict(graph.source().counts),
        "target": dict(graph.target.counts),
        "done": len(nodes) - len(left),
        "to_make": by_stage,
        "time_about": duration(sum(estimate(node, rates) for node in left)),
        "tokens_per_second": {stage: round(rate, 1) for stage, rate in rates.items()},
        "disk_gb_about": round((sum(node.stage in KEPT for node in left) + 1) * model / 1e9, 1),
    }


def _float32_bytes(base: Path) -> int:
    """The size of a float32 copy: a GGUF of four or five bits a weight grows about sixfold."""
    return size_of(base) * (6 if base.suffix == ".gguf" else 1)


def run(study: Study, workspace: Path, out: Path, jobs: int = 1) -> dict[str, Any]:
    """Make what is missing, and write `results.json`, the table and the plots into `out` after every arm."""
    graph, store = Graph(study, workspace / "data"), Store(workspace)
    nodes = graph.nodes()
    left = needed(nodes, store)
    out.mkdir(parents=True, exist_ok=True)
    output.note(f"{study.title}: {len(nodes) - len(left)} of {len(nodes)} results are here already")
    write = lambda: _write(study, graph, store, out)  # noqa: E731
    if left:
        make(left, store, jobs, write)
    return write()


def collect(study: Study, graph: Graph, store: Store) -> dict[str, Any]:
    """Every item of every arm that is finished: {"items": asked questions, "arms": {arm: {seed: answers}}}."""
    arms: dict[str, dict[str, Any]] = {name: {} for name in study.arms}
    items: dict[str, dict[str, dict[str, Any]]] = {}
    for one in graph.asked:
        if not store.done(one.node):
            continue
        found = json.loads(store.answers_of(one.node).read_text(encoding="utf-8"))
        asked = "source" if study.arms[one.arm].model == "source" else "target"
        material = graph.source() if asked == "source" else graph.target
        known = items.setdefault(asked, {})
        for row in found["answers"]:
            known.setdefault(row["id"], {"question": row["question"], "answers": row["answers"], "doc": row["doc"], "part": material.where.get(row["id"], "test")})
        rows = {row["id"]: {k: row[k] for k in ("prediction", "exact", "contains", "f1", "tokens", "finish")} for row in found["answers"]}
        arms[one.arm].setdefault(str(one.seed), {})[f"{one.scale:g}"] = {"injection": found["injection"], "answers": rows}
    return {"items": items, "arms": arms}


def _write(study: Study, graph: Graph, store: Store, out: Path) -> dict[str, Any]:
    document = {
        "format": 1,
        "title": study.title,
        "study": {
            "base": study.base,
            "seeds": list(study.seeds),
            "reference": study.reference,
            "settings": {name: configs.to_dict(study.stage(name)) for name in ("ingest", "sft", "rl", "imitation", "format", "inject", "eval")},
            "arms": {name: vars(arm) for name, arm in study.arms.items()},
            "vectors": {name: vars(vector) for name, vector in study.vectors.items()},
            "source": {**vars(study.source), "counts": dict(graph.source().counts)},
            "target": {**vars(study.target), "counts": dict(graph.target.counts)},
        },
        "machine": environment.machine(),
        "versions": environment.versions(),
        **collect(study, graph, store),
    }
    document["summary"] = {}
    write_json(out / "results.json", document)
    (out / "table.md").write_text("", encoding="utf-8")
    return document
