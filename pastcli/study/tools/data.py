"""Who sees which APIs: the lessons of source, target and unrelated tools as files named by their content.

The same for every seed: seeds vary the training, intervals over tools stand for other tools.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...agent.examples import rows_of_runs
from ...api import Task, ToolSpec
from ...config import LessonsConfig
from ...errors import UsageError
from ...tools.environments.simulator import simulated
from ...tools.learning import lessons
from ...tools.learning.sides import Side, sides_of
from ...tools.learning.written import entry
from ..data import write_named
from ..spec import added
from .guess import guess
from .spec import ToolsStudy


@dataclass(frozen=True)
class Material:
    """One side on disk: what SFT learns, RL's queries, runs that solve these, test queries, questions about the schemas."""

    categories: tuple[str, ...]
    corpus: Path
    queries: Path
    solved: Path
    tests: Path
    recall: Path
    items: tuple[Mapping[str, Any], ...]
    asked: tuple[Mapping[str, Any], ...]
    counts: Mapping[str, Any]


@dataclass(frozen=True)
class Materials:
    """The sides of a study; `format` are whole runs of the agent on unrelated tools, None where no arm wants them."""

    source: Material
    target: Material
    format: Path | None
    unrelated: Mapping[str, Any]


def materials(study: ToolsStudy, folder: Path) -> Materials:
    """Make and write all of it. Raises `MismatchError` if two sides share a category, a tool or a query, and `UsageError` where
    no query could be made for something that the study trains on or asks."""
    config: LessonsConfig = study.stage("lessons")
    files = [study.path(str(file)) for file in study.tools.files]
    source, target = sides_of(files, study.tools.source, study.tools.target, config)[0]
    runs, counts = None, {}
    if study.tools.unrelated:
        unrelated = _unrelated(study, files, (source, target), config)
        made = lessons.make(unrelated.specs, replace(config, kinds=["react"], queries=0, test_queries=0))
        runs = write_named(rows_of_runs(made.runs, config, simulated), folder, ".jsonl")
        counts = {"categories": list(unrelated.categories), **made.counts()}
    first = _material(source, config, folder, study.tools.real)
    second = _material(target, config, folder, study.tools.real, source.specs)
    _check_made(study, first, second, counts)
    return Materials(first, second, runs, counts)


def _check_made(study: ToolsStudy, source: Material, target: Material, unrelated: Mapping[str, Any]) -> None:
    """That there is something to practise and to ask, before hours are spent."""
    arms = study.arms.values()
    used = {study.vectors[name].kind for arm in arms for name, _ in added(arm)}
    if not target.items:
        raise _nothing("test query for the target", target.counts)
    if used & {"rl", "imitation", "distill"} and not source.counts["queries"]:
        raise _nothing("query to practise on for the source", source.counts)
    if any(arm.model == "rl" for arm in arms) and not target.counts["queries"]:
        raise _nothing("query to practise on for the target", target.counts)
    if (study.tools.form or "format" in used) and not unrelated["episodes"]:
        raise _nothing("whole run of the unrelated tools", unrelated)


def _nothing(what: str, counts: Mapping[str, Any]) -> UsageError:
    reasons: Counter[str] = Counter()
    for why, many in counts["left_out"].items():
        reasons[why.partition(": ")[2]] += many
    why = "; ".join(f"{reason} ({many})" for reason, many in reasons.most_common(3))
    hint = "name other categories, or see queries, test_queries and examples of [lessons]"
    return UsageError(f"no {what} could be made{f': {why}' if why else ''}", hint)


def _unrelated(study: ToolsStudy, files: Sequence[Path], sides: Sequence[Side], config: LessonsConfig) -> Side:
    """The third side, without what the others have. Raises `MismatchError` if it shares a tool or a query with one of them."""
    for side in sides:
        sides_of(files, side.categories, study.tools.unrelated, config)
    return sides_of(files, study.tools.unrelated, (), config, [spec for side in sides for spec in side.specs])[0][0]


def _material(side: Side, config: LessonsConfig, folder: Path, real: bool, source: Sequence[ToolSpec] = ()) -> Material:
    """A side written down; of the target also what a guess by the parameters of the `source` would earn."""
    made = lessons.make(side.specs, config)
    tests = [*made.tests, *(side.own if real else ())]
    rows = lessons.in_order([*made.rows, *rows_of_runs(made.runs, config, simulated)])
    solved = rows_of_runs(made.solved, replace(config, mistakes=0.0), simulated)
    return Material(
        categories=side.categories,
        corpus=write_named(rows, folder, ".jsonl"),
        queries=write_named([entry(task) for task in made.practice], folder, ".json"),
        solved=write_named(solved, folder, ".jsonl"),
        tests=write_named([entry(task) for task in tests], folder, ".json"),
        recall=write_named(made.recall, folder, ".jsonl"),
        items=tuple(_item(task) for task in tests),
        asked=tuple({**one, "tool": one["doc"], "category": one["doc"].partition("/")[0]} for one in made.recall),
        counts={
            "categories": list(side.categories),
            **made.counts(),
            "copies_left_out": len(side.copies),
            **({"guess": guess(tests, source)} if source else {}),
        },
    )


def _item(task: Task) -> dict[str, Any]:
    spec = next(iter(spec for spec in task.tools if spec.key in task.relevant), task.tools[0])
    return {
        "id": task.id,
        "query": task.query,
        "category": spec.category,
        "tool": f"{spec.category}/{spec.tool or spec.api}",
    }
