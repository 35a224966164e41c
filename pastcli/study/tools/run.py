"""A whole study of tools: plan, make, collect; the results are written anew whenever an arm is complete."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ... import config as configs
from ... import environment, output
from ...config.study_tools import STAGE_TABLES
from ...stats import least_sign_flip
from ...words import counted
from .. import failures, measured
from ..execute import make, needed
from ..node import Check, given, unchecked
from ..store import Store, float32_bytes
from ..times import told
from . import report
from .graph import Graph
from .spec import ToolsStudy

ENTRY = ("figures", "recall", "retained", "injection", "tokens", "samples", "seconds")


def plan(
    study: ToolsStudy,
    workspace: Path,
    seeds: Collection[int] = (),
    jobs: int = 1,
    check: Check = unchecked,
    anew: bool = False,
) -> dict[str, Any]:
    """What would be made, for some of the seeds or all: nodes by stage, and the time. Writes nothing that stays."""
    with tempfile.TemporaryDirectory() as scratch:
        graph, store = Graph(study, Path(scratch)), Store(workspace, anew=anew)
        _warn_of_few_tools(study, graph)
        store.base_bytes = float32_bytes(graph.base)
        nodes = graph.nodes(seeds)
        left = needed(nodes, store)
        check(given(left))
        store.warn_of_other_code(nodes)
        return {
            "title": study.title,
            "seeds": list(seeds or study.seeds),
            "arms": list(study.arms),
            "source": dict(graph.data.source.counts),
            "target": dict(graph.data.target.counts),
            "done": len(nodes) - len(left),
            "to_make": {
                stage: sum(node.stage == stage for node in left) for stage in dict.fromkeys(node.stage for node in left)
            },
            **told(left, graph.nodes(), store, jobs),
        }


def run(
    study: ToolsStudy,
    workspace: Path,
    out: Path,
    jobs: int = 1,
    collect_only: bool = False,
    lean: bool = False,
    seeds: Collection[int] = (),
    check: Check = unchecked,
    anew: bool = False,
) -> dict[str, Any]:
    """Make what is missing (of some `seeds`, or all), and write `results.json` and the tables into `out` after every arm; with `collect_only` of
    what is there already, also while another process is at it. With `anew` what another state of the code made is missing too."""
    store = Store(workspace, anew=anew)
    output.note(f"{study.title}: making lessons")
    graph = Graph(study, store.data)
    _warn_of_few_tools(study, graph)
    store.base_bytes = float32_bytes(graph.base)
    nodes = graph.nodes(seeds)
    left = needed(nodes, store)
    if not collect_only:
        check(given(left))
    out.mkdir(parents=True, exist_ok=True)
    output.note(f"{study.title}: {len(nodes) - len(left)} of {len(nodes)} results are here already")
    store.warn_of_other_code(nodes)
    facts, made = _facts(study, graph), measured.made_of(graph.asked, workspace)

    def write() -> dict[str, Any]:
        found = {"code": store.states(nodes), "compute": compute(graph, store), "arms": collect(graph, store)}
        if failed := failures.collect(graph.asked, store):
            found["failed"] = failed
        document = report.with_summary({**facts, **found})
        report.write(document, out)
        measured.keep(document, made, out, workspace)
        return document

    try:
        if not collect_only:
            make(nodes, store, jobs, write, lean)
    finally:
        document = write()
    return document


def _warn_of_few_tools(study: ToolsStudy, graph: Graph) -> None:
    """Where no gain could be shown whatever the models do, before they are trained for it."""
    claims = sum(arm.test for arm in study.arms.values())
    tools = {str(item["tool"]) for item in graph.data.target.items}
    least = claims * least_sign_flip(len(tools))
    if least >= 0.05:
        output.warn(
            f"no gain of any size can be shown: with {counted(len(tools), 'tools')} and {counted(claims, 'claims')} the smallest p is {min(1.0, least):.2g}",
            "take more tools or categories for the target (apis of [lessons]), or declare fewer arms as tests",
        )


def collect(graph: Graph, store: Store) -> dict[str, Any]:
    """What every finished arm did: {arm: {seed: {figures, recall, …}}}."""
    arms: dict[str, dict[str, Any]] = {name: {} for name in graph.study.arms}
    for one in graph.asked:
        if store.done(one.node):
            found = json.loads(store.answers_of(one.node).read_text(encoding="utf-8"))
            arms[one.arm][str(one.seed)] = {name: found.get(name) for name in ENTRY}
    return arms


def compute(graph: Graph, store: Store) -> dict[str, Any]:
    """Tokens, seconds and steps of every training that is done: whether imitation had the compute of RL can be read off."""
    found: dict[str, Any] = {}
    for node in graph.nodes():
        record = store.record(node) if node.stage in ("sft", "rl", "distill") else None
        if record is not None:
            metrics: Mapping[str, Any] = record.manifest["metrics"]
            told = {name: metrics.get(name) for name in ("tokens", "steps", "loss_last")}
            found[node.label] = {"seed": node.config.seed, "seconds": record.manifest["seconds"], **told}
    return found


def _facts(study: ToolsStudy, graph: Graph) -> dict[str, Any]:
    """What there is to know beside what was done: the whole recipe, the data by name and content, machine and versions."""
    data = graph.data
    return {
        "format": 1,
        "kind": "tools",
        "title": study.title,
        "study": {
            "base": study.base,
            "seeds": list(study.seeds),
            "reference": study.reference,
            "settings": {name: configs.to_dict(study.stage(name)) for name in STAGE_TABLES},
            "arms": {name: vars(arm) for name, arm in study.arms.items()},
            "vectors": {name: vars(vector) for name, vector in study.vectors.items()},
            "tools": {**vars(study.tools), "files": [Path(file).name for file in study.tools.files]},
            "source": dict(data.source.counts),
            "target": dict(data.target.counts),
            "unrelated": dict(data.unrelated),
        },
        "items": list(data.target.items),
        "asked": list(data.target.asked),
        "machine": environment.machine(),
        "versions": environment.versions(),
    }
