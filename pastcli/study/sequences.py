"""What was measured along the sequences of a study, beside the answers: angles with the drift, seconds of every update."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .graph import Graph
from .node import Node
from .store import Store


def collect(graph: Graph, store: Store) -> dict[str, Any]:
    """{arm: {"steps", "drift": {vector: {seed: [step]}}, "seconds": {seed: [step]}}} of the sequences that are there."""
    found: dict[str, Any] = {}
    for name, arm in graph.study.arms.items():
        if not arm.sequence:
            continue
        drifts: dict[str, dict[str, Any]] = {}
        for (owner, seed, vector), node in graph.drifts.items():
            if owner == name and store.done(node):
                steps = json.loads(store.answers_of(node).read_text(encoding="utf-8"))["steps"]
                drifts.setdefault(vector, {})[str(seed)] = steps
        seconds = {str(seed): _seconds(graph, store, name, arm.sequence, seed) for seed in graph.study.seeds}
        found[name] = {"steps": list(arm.sequence), "drift": drifts, "seconds": seconds}
    return found


def _seconds(graph: Graph, store: Store, name: str, sequence: Sequence[str], seed: int) -> list[dict[str, float]]:
    """What each update took, by stage: its training, and adding the vectors where that was done. The vector itself was made
    once, for all updates."""
    asked = {one.arm: one.node for one in graph.asked if one.seed == seed}
    made = []
    before: set[str] = set()
    for domain in sequence:
        answers = asked[f"{name}: {domain} after {domain}"]
        model = dict(answers.inputs)["model"]
        chain = {node.key: node for node in _chain(model) if node.key not in before}
        before |= chain.keys()
        step: dict[str, float] = {}
        for node in chain.values():
            spent = store.seconds(node)
            if spent is None and node.stage == "inject" and store.done(answers):
                told = json.loads(store.answers_of(answers).read_text(encoding="utf-8"))["injection"]
                spent = told.get("seconds")
            if spent is not None:
                step[node.stage] = step.get(node.stage, 0.0) + spent
        made.append(step)
    return made


def _chain(model: Any) -> list[Node]:
    """The trainings and injections behind a model, without those that made the vectors."""
    if not isinstance(model, Node):
        return []
    inputs = dict(model.inputs)
    grown = inputs.get({"sft": "after", "rl": "sft", "inject": "target"}.get(model.stage, ""))
    return [*_chain(grown), model]
