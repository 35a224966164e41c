"""The parts of a report, gathered from runs of every stage."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import curves, runs
from ..ancestry import ancestry, label_of, status_of
from ..evals.paired import Table as Scores
from ..evals.paired import compare_tables
from .agents import agent_section, episodes_of
from .blocks import Block, Curve, Dots, Folded, Node, Score, Section, Table, Tree, Words
from .compared import not_comparable, tables_of
from .plots import interval
from .scores import answers_section, eval_section, study_sections

CONFIDENCE = 0.95


@dataclass
class Gathered:
    """The sections of a page, and what was found on the way."""

    title: str
    sections: list[Section] = field(default_factory=list)
    episodes: int = 0
    left_out: int = 0
    reasons: list[str] = field(default_factory=list)


def gather(records: Sequence[runs.Record], studies: Sequence[Path], queries: int | None) -> Gathered:
    """Everything about these runs; `queries` bounds how many queries' episodes are held."""
    found = Gathered(_title(records, studies))
    found.sections.append(Section("Runs", [_overview(records)] if records else []))
    by_stage = {stage: [r for r in records if r.stage == stage] for stage in ("agent", "eval")}
    for path in studies:
        found.sections += study_sections(path)
    if by_stage["eval"]:
        found.sections.append(eval_section(by_stage["eval"], _differences(by_stage["eval"], found)))
    if by_stage["agent"]:
        found.sections.append(agent_section(by_stage["agent"], _differences(by_stage["agent"], found)))
    found.sections += filter(None, map(_training, records))
    if records:
        found.sections.append(Section("Lineage", [_lineage(records)]))
    if by_stage["agent"]:
        section, found.episodes, found.left_out = episodes_of(by_stage["agent"], queries)
        found.sections.append(section)
    if by_stage["eval"]:
        found.sections.append(answers_section(by_stage["eval"]))
    if records:
        found.sections.append(Section("Settings", [_settings(record) for record in records]))
    return found


def _title(records: Sequence[runs.Record], studies: Sequence[Path]) -> str:
    if len(records) + len(studies) == 1:
        return records[0].id if records else studies[0].parent.name
    return "Report"


def _overview(records: Sequence[runs.Record]) -> Table:
    rows = []
    for record in records:
        of = record.manifest
        model = next(
            (e["path"] for n, e in of.get("inputs", {}).items() if n in ("model", "target", "sft", "base")), "-"
        )
        took = of.get("seconds")
        begun = str(of.get("started", ""))[:16].replace("T", " ")
        rows.append(
            [record.id, record.stage, status_of(record), begun, "-" if took is None else f"{took:.0f} s", _short(model)]
        )
    return Table(("run", "stage", "status", "begun (UTC)", "took", "model"), rows)


def _short(path: str) -> str:
    """A path without the folders that say nothing to a reader elsewhere."""
    parts = [part for part in Path(path).parts if part not in ("..", "/")]
    return "/".join(parts[-2:]) if parts else path


def _differences(records: Sequence[runs.Record], found: Gathered) -> list[Block]:
    """Runs of one kind against the first of them, as `past runs compare` has it."""
    tables, documents = tables_of(records)
    if len(tables) < 2:
        return []
    reasons = not_comparable(records, tables)
    found.reasons += reasons
    strangers = [name for name in list(tables)[1:] if not _in_common(tables[name], next(iter(tables.values())))]
    found.reasons += [f"{name} has no graded query or question in common with the first" for name in strangers]
    blocks: list[Block] = [Words([f"Not comparable: {reason}." for reason in reasons])] if reasons else []
    blocks += (
        [Words([f"Not compared, for want of a common query or question: {', '.join(strangers)}."])] if strangers else []
    )
    tables = {name: table for name, table in tables.items() if name not in strangers}
    if len(tables) < 2:
        return blocks
    pairs = compare_tables(tables, documents or None, CONFIDENCE)
    reference = next(iter(tables))
    rows: list[list[Any]] = []
    scores: dict[str, list[Score]] = {}
    for name, metrics in pairs.items():
        for metric, pair in metrics.items():
            score = Score(name, pair.difference, pair.low, pair.high)
            scores.setdefault(metric, []).append(score)
            rows.append(
                [name, metric, pair.n, pair.mean, pair.reference, interval(score, "+"), f"{pair.better}/{pair.worse}"]
            )
            rows[-1] += [f"{pair.p:.3g}", f"{pair.p_holm:.3g}", pair.test]
    columns = ("run", "metric", "n", "mean", "reference", "difference", "better/worse", "p", "p Holm", "test")
    caption = f"Paired against {reference} over what both answered; 95 % intervals; Holm over the runs."
    plots = [Dots(f"{metric}, minus {reference}", of, zero=True) for metric, of in scores.items()]
    return [*blocks, *plots, Table(columns, rows, caption)]


def _in_common(table: Scores, reference: Scores) -> bool:
    """True if both have graded at least one query or question."""
    return any(
        score is not None and table.get(metric, {}).get(one) is not None
        for metric, scores in reference.items()
        for one, score in scores.items()
    )


def _training(record: runs.Record) -> Section | None:
    """The curves of a run that trained, and answers it sampled."""
    log = curves.read_log(record.path / "log.jsonl")
    if not log:
        return None
    blocks: list[Block] = [Curve(name, _points(log, name)) for name in curves.drawn(log)]
    shares = curves.times(log)
    if shares:
        blocks.append(Words(["Time of a step: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())]))
    rollouts = curves.read_log(record.path / "rollouts.jsonl")[-8:]
    if rollouts:
        rows = [[row.get("prompt"), row.get("completion"), row.get("reward")] for row in rollouts]
        blocks.append(Table(("prompt", "sampled answer", "reward"), rows, "The last answers that were sampled."))
    return Section(f"Training: {record.id}", blocks)


def _points(log: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [
        (float(e.get("step", n)), float(e[name])) for n, e in enumerate(log) if isinstance(e.get(name), (int, float))
    ]


def _lineage(records: Sequence[runs.Record]) -> Tree:
    known = {record.id: record for record in runs.records()} | {record.id: record for record in records}

    def node(tree: Mapping[str, Any]) -> Node:
        leaves = [f"{name}: {_short(path)}" for name, path in tree["inputs"].items()]
        return Node(label_of(dict(tree)), leaves, [node(parent) for parent in tree["parents"]])

    return Tree([node(ancestry(record.id, known, ())) for record in records])


def _settings(record: runs.Record) -> Folded:
    """How a run was made: enough to make it again."""
    of = record.manifest
    rows = list(_rows(record))
    typed = shlex.join(["past", *(_here(str(word)) for word in of.get("argv", [""])[1:])])
    measured = [[name, _text(value)] for name, value in of.get("metrics", {}).items()]
    blocks: list[Block] = [Words([typed]), Table(("", "name", "value"), rows)]
    blocks += [Table(("measured", "value"), measured)] if measured else []
    return Folded(record.id, blocks)


def _rows(record: runs.Record) -> Iterator[list[Any]]:
    of = record.manifest
    for title in ("inputs", "outputs"):
        for name, entry in of.get(title, {}).items():
            yield [title, name, f"{_short(entry['path'])} {entry.get('hash', '')}".strip()]
    for title in ("config", "versions", "machine"):
        for name, value in of.get(title, {}).items():
            yield [title, name, _text(value)]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _here(str(value))


def _here(text: str) -> str:
    """What lies in the workspace as seen from there: the page is read elsewhere, and the workspace may be moved."""
    place = str(runs.workspace())
    return os.path.relpath(text, place) if text == place or text.startswith(place + os.sep) else text
