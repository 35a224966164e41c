"""A whole study: plan, make, collect; the results are written anew whenever an arm is complete."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from .. import output
from ..errors import UsageError
from . import cautions, failures, measured, report, sequences
from .effects import summarise
from .execute import make, needed
from .facts import facts_of
from .graph import Graph
from .node import Check, Node, given, unchecked
from .recipe import unlike
from .sentences import sentences
from .spec import Study
from .store import Store, float32_bytes
from .strata import strata
from .times import mean_seconds, rates_of, told

KEPT = ("sft", "rl", "extract")
"""Stages whose results stay, each of the size of a float32 model; injected models are removed when they were asked."""

COLUMNS = ("prediction", "exact", "contains", "f1", "tokens", "finish")


def plan(
    study: Study,
    workspace: Path,
    seeds: Collection[int] = (),
    jobs: int = 1,
    check: Check = unchecked,
    anew: bool = False,
) -> dict[str, Any]:
    """What would be made, for some of the seeds or all: nodes by stage, time and disk. Writes nothing that stays."""
    with tempfile.TemporaryDirectory() as scratch:
        graph = Graph(study, Path(scratch))
        store = Store(workspace, float32_bytes(graph.base), anew)
        nodes = graph.nodes()
        left = needed(graph.nodes(seeds), store)
        items = _asked_of(study, graph)
        check(given(left))
        store.warn_of_other_code(nodes)
        facts = facts_of(study, graph)
        _warn(facts, items)
        rates = rates_of(nodes, store)
        stages = dict.fromkeys(node.stage for node in left)
        return {
            "title": study.title,
            "seeds": list(seeds or study.seeds),
            "arms": list(study.arms),
            "source": _asked_about(graph.materials.source().counts),
            **_sources(facts["study"]["vectors"]),
            "target": _asked_about(graph.materials.target.counts),
            "done": len(graph.nodes(seeds)) - len(left),
            "to_make": {stage: sum(node.stage == stage for node in left) for stage in stages},
            **told(left, nodes, store, jobs),
            "tokens_per_second": {stage: round(rate, 1) for stage, rate in rates.items()},
            "disk_gb_about": round(sum(node.stage in KEPT for node in left) * float32_bytes(graph.base) / 1e9, 1),
        }


def _sources(vectors: Mapping[str, Any]) -> dict[str, Any]:
    """How much of a source of its own each vector is made on, where one has such: its name may say something else."""
    found = {name: _asked_about(one["counts"]) for name, one in vectors.items() if "counts" in one}
    return {"vectors": found} if found else {}


def _warn(facts: Mapping[str, Any], items: Mapping[str, list[dict[str, Any]]]) -> None:
    """Say what the study cannot show, before anything is trained for it."""
    for about, asked in items.items():
        for said in cautions.of_questions(asked, facts["study"]["settings"]["eval"]["max_new_tokens"]):
            output.warn(f"questions on the {about}: {said}")
    for said in cautions.of_design(facts["study"]["arms"], items):
        output.warn(said)
    if told := unlike(facts["study"]):
        output.warn(told, "give the vectors and the arms the same `sft`, or leave both out; then [sft] holds for both")


def _asked_about(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts of a part for somebody who has not read the code: a document without a question is not among them."""
    names = {"documents": "documents with questions", "practised": "practised and asked again"}
    return {names.get(name, name): count for name, count in counts.items()}


def run(
    study: Study,
    workspace: Path,
    out: Path,
    jobs: int = 1,
    collect_only: bool = False,
    lean: bool = False,
    seeds: Collection[int] = (),
    check: Check = unchecked,
    anew: bool = False,
) -> dict[str, Any]:
    """Make what is missing (of some `seeds`, or all), and write `results.json`, the table and the plot into `out` as
    arms become complete; with `collect_only` of what is there already, also while another process is at it. With `anew`
    what another state of the code made is missing too."""
    store = Store(workspace, anew=anew)
    graph = Graph(study, store.data)
    store.base_bytes = float32_bytes(graph.base)
    nodes = graph.nodes()
    left = needed(graph.nodes(seeds), store)
    if not collect_only:
        check(given(left))
    out.mkdir(parents=True, exist_ok=True)
    wanted = len(graph.nodes(seeds))
    output.note(f"{study.title}: {wanted - len(left)} of {wanted} results are here already")
    store.warn_of_other_code(nodes)
    facts, items = facts_of(study, graph), _asked_of(study, graph)
    _warn(facts, items)
    made = measured.made_of(graph.asked, workspace)

    def write() -> dict[str, Any]:
        seconds = mean_seconds(nodes, store)
        document = {
            **facts,
            "code": store.states(nodes),
            "seconds": seconds,
            "items": items,
            "arms": collect(graph, store, items),
        }
        if failed := failures.collect(graph.asked, store):
            document["failed"] = failed
        if along := sequences.collect(graph, store):
            document["continual"] = along
        document["summary"] = summarise(document)
        document["summary"]["sentences"] = sentences(document, document["summary"])
        report.write(document, out)
        measured.keep(document, made, out, workspace)
        return document

    try:
        if not collect_only:
            make(graph.nodes(seeds), store, jobs, sparing(write), lean)
    finally:
        document = write()
    return document


def sparing(action: Callable[[], object]) -> Callable[[], None]:
    """Do it now, and when asked again only after nine times as long as it took: with many stages side by side, tables of many
    arms would otherwise keep the next stages waiting."""
    due = 0.0

    def now_and_then() -> None:
        nonlocal due
        began = time.monotonic()
        if began >= due:
            action()
            ended = time.monotonic()
            due = ended + 9 * (ended - began)

    return now_and_then


def collect(graph: Graph, store: Store, items: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The answers of every finished arm, as columns in the order of the items: {arm: {seed: {scale: ...}}}. Where each
    document has a model of its own, the arm is finished when all are, and what they kept is their mean."""
    arms: dict[str, dict[str, Any]] = {name: {} for name in graph.arms}
    groups: dict[tuple[str, int, float, str], list[Node]] = {}
    for one in graph.asked:
        groups.setdefault((one.arm, one.seed, one.scale, one.about), []).append(one.node)
    for (arm, seed, scale, about), nodes in groups.items():
        if not all(map(store.done, nodes)):
            continue
        found = [json.loads(store.answers_of(node).read_text(encoding="utf-8")) for node in nodes]
        rows = {row["id"]: row for one in found for row in one["answers"]}
        columns = {name: [rows[item["id"]][name] for item in items[about]] for name in COLUMNS}
        entry = {name: _mean_of([one.get(name) for one in found]) for name in ("injection", "retained")}
        arms[arm].setdefault(str(seed), {})[f"{scale:g}"] = {**entry, "answers": columns}
    return arms


def _mean_of(found: list[dict[str, float | None] | None]) -> dict[str, float | None] | None:
    """Figure by figure; None where one of them is missing."""
    if not all(found):
        return None
    means: dict[str, float | None] = {}
    for name in found[0] or {}:
        values = [value for one in found if one and (value := one.get(name)) is not None]
        means[name] = sum(values) / len(values) if len(values) == len(found) else None
    return means


def _asked_of(study: Study, graph: Graph) -> dict[str, list[dict[str, Any]]]:
    """The questions that arms are asked, by what they are about. Raises `UsageError` where a stratum that an arm is judged in is empty."""
    items = {about: _items(study, graph, about) for about in dict.fromkeys(one.about for one in graph.asked)}
    for name, arm in study.arms.items():
        kind, _, value = arm.within.partition(": ")
        about = "source" if arm.model == "source" else "target"
        if arm.within and not any(item.get(kind) == value and item["part"] != "dev" for item in items[about]):
            raise UsageError(f"no question that [arms.{name}] is judged by is of {arm.within!r}")
    return items


def _items(study: Study, graph: Graph, about: str) -> list[dict[str, Any]]:
    """The questions asked about one part, with their strata (those of the source are practised or held out)."""
    material = graph.materials.asked(about)
    found = (
        [{} for _ in material.questions] if about == "source" else strata(study, material, graph.materials.practised)
    )
    return [
        {
            "id": q.id,
            "question": q.question,
            "answers": list(q.answers),
            "doc": q.doc,
            "part": material.where[q.id],
            **one,
        }
        for q, one in zip(material.questions, found, strict=True)
    ]
